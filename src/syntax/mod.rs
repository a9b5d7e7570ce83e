//! From text to [`ast::Ast`] and back.

pub mod ast;
