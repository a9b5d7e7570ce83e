//! stub
/// stub
pub struct Explanation;
