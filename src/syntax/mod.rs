//! From text to [`ast::Ast`] and back.
//!
//! Comes in: a [`SourceFile`](crate::SourceFile). Goes out: [`Parsed`], from [`parse()`], and canonical text, from [`print()`].
//! Parsing never fails: a piece that the grammar does not allow becomes [`ast::ItemKind::Broken`] and a diagnostic, and the next
//! line is read as if nothing had happened. No name is resolved and no value is judged here.

pub mod ast;
mod expression;
mod mistake;
mod parse;
mod print;
mod scan;
mod token;

pub(crate) use mistake::is_name;
pub use parse::{Comment, Parsed, parse};
pub use print::{print, print_expr};
pub use scan::MAX_SOURCE_BYTES;
