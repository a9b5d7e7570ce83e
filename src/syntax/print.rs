//! The formatter; not written yet.
use super::ast::Expr;
use super::parse::Parsed;
/// Nothing yet.
pub fn print(_parsed: &Parsed) -> Option<String> {
    None
}
/// Nothing yet.
pub fn print_expr(_expr: &Expr) -> String {
    String::new()
}
