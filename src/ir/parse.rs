//! Kernels from their text, the inverse of [`print_kernel`](super::print_kernel).
//!
//! Comes in: text as `print` writes it, or as a person does: spaces are free, `#` begins a comment, blank lines do not
//! count, and the type of a result may be left out where it follows from the operands. Goes out: the kernel, or the
//! first line that is wrong. The head's lines (`uniform`, `stream`) come before the body.
//!
//! It does not verify: a kernel that parses may still be ill-typed. That is what tests of `verify` are written in.

use super::kernel::{Access, Kernel, KernelInst, Stream};
use super::op::{Binary, Compare, Const, Math1, Op, Storage, Type, Unary, Value};
use super::print::is_plain;
use super::verify::types;
use std::fmt;

/// Text that is not a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// The kernel that `text` says.
pub fn parse_kernel(text: &str) -> Result<Kernel, ParseError> {
    let mut kernel: Option<Kernel> = None;
    let mut declared: Vec<(usize, Option<Type>)> = Vec::new();
    let mut closed = false;
    let mut last = 0;
    for (index, line) in text.lines().enumerate() {
        last = index + 1;
        let fail = |message: String| ParseError { line: last, message };
        let tokens = tokens(line).map_err(fail)?;
        let mut cursor = Cursor { tokens: &tokens };
        if tokens.is_empty() {
            continue;
        }
        if closed {
            return Err(fail("text after the closing brace".into()));
        }
        let Some(kernel) = &mut kernel else {
            kernel = Some(parse_head(&mut cursor).map_err(fail)?);
            continue;
        };
        if cursor.eat("}") {
            closed = true;
            cursor.end().map_err(fail)?;
            continue;
        }
        if let Some(ty) = parse_line(&mut cursor, kernel).and_then(|ty| cursor.end().map(|()| ty)).map_err(fail)? {
            declared.push((last, ty));
        }
    }
    let Some(kernel) = kernel.filter(|_| closed) else {
        return Err(ParseError { line: last.max(1), message: "the text ends before the kernel does".into() });
    };
    for ((line, declared), derived) in declared.into_iter().zip(types(&kernel)) {
        if let (Some(declared), Some(derived)) = (declared, derived)
            && declared != derived
        {
            let message = format!("this is {}, not {}", derived.name(), declared.name());
            return Err(ParseError { line, message });
        }
    }
    Ok(kernel)
}

/// `kernel NAME TYPE {`
fn parse_head(cursor: &mut Cursor<'_>) -> Result<Kernel, String> {
    cursor.expect("kernel")?;
    let name = cursor.name()?;
    let compute = cursor.ty()?;
    cursor.expect("{")?;
    cursor.end()?;
    Ok(Kernel { name, compute, uniforms: Vec::new(), streams: Vec::new(), body: Vec::new() })
}

/// One line between the braces. Of an instruction, returns the type that is written with it.
fn parse_line(cursor: &mut Cursor<'_>, kernel: &mut Kernel) -> Result<Option<Option<Type>>, String> {
    if cursor.eat("store") {
        let stream = cursor.stream(kernel)?;
        cursor.expect(",")?;
        let value = cursor.value()?;
        kernel.body.push(KernelInst::Store(stream, value));
        return Ok(Some(None));
    }
    if cursor.eat("uniform") {
        let name = cursor.name()?;
        before_body(kernel)?;
        kernel.uniforms.push(name);
        return Ok(None);
    }
    if cursor.eat("stream") {
        let name = cursor.name()?;
        let storage = cursor.one_of(&Storage::ALL, Storage::name, "a storage type")?;
        let access = cursor.one_of(&[Access::Read, Access::Write, Access::ReadWrite], Access::name, "r, w or rw")?;
        let block = cursor.eat("block");
        before_body(kernel)?;
        kernel.streams.push(Stream { name, storage, access, block });
        return Ok(None);
    }
    let value = cursor.value()?;
    if value.index() != kernel.body.len() {
        return Err(format!("this instruction is %{}, not %{}", kernel.body.len(), value.0));
    }
    let declared = if cursor.eat(":") { Some(cursor.ty()?) } else { None };
    cursor.expect("=")?;
    let inst = if cursor.eat("uniform") {
        let names: Vec<&str> = kernel.uniforms.iter().map(String::as_str).collect();
        KernelInst::Uniform(cursor.reference(&names, "uniform")?)
    } else if cursor.eat("load") {
        KernelInst::Load(cursor.stream(kernel)?)
    } else {
        KernelInst::Op(parse_op(cursor, declared.unwrap_or(kernel.compute))?)
    };
    kernel.body.push(inst);
    Ok(Some(declared))
}

/// Declarations come first, so that a body's references can be resolved as they are read.
fn before_body(kernel: &Kernel) -> Result<(), String> {
    if kernel.body.is_empty() { Ok(()) } else { Err("declarations come before the first instruction".into()) }
}

/// Every operation but constants and bitcasts, on dummy operands: the table that names are looked up in.
fn operations() -> impl Iterator<Item = Op> {
    use {Binary::*, Compare::*, Math1::*, Unary::*};
    let v = Value(0);
    let maths = [Exp, Log, Tanh, Sin, Cos, Cbrt, Sigmoid].map(Math);
    let unary = [Neg, Abs, Sqrt, Floor, Ceil, Round, Not].into_iter().chain(maths).map(move |op| Op::Unary(op, v));
    let binary = [Add, Sub, Mul, Div, Min, Max, Rem, Pow, And, Or, Xor, IAdd, ISub, Shl, Shr, Sar];
    let compare = [Eq, Ne, Lt, Le, Gt, Ge];
    unary
        .chain(binary.into_iter().map(move |op| Op::Binary(op, v, v)))
        .chain(compare.into_iter().map(move |op| Op::Compare(op, v, v)))
        .chain([Op::Fma(v, v, v), Op::Select(v, v, v), Op::ToInt(v), Op::ToFloat(v)])
        .chain(Storage::ALL.map(|storage| Op::Narrow(storage, v)))
}

/// An operation whose result is of type `ty`; it matters for constants and bitcasts alone.
fn parse_op(cursor: &mut Cursor<'_>, ty: Type) -> Result<Op, String> {
    let name = cursor.next().ok_or("an operation is missing")?;
    if name == "const" {
        let text = cursor.next().ok_or("a constant is missing")?;
        return parse_const(text, ty).map(Op::Const);
    }
    if name == "bitcast" {
        return Ok(Op::Bitcast(ty, cursor.value()?));
    }
    let op = operations()
        .find(|&op| super::print::op_name(op) == name)
        .ok_or_else(|| format!("there is no operation `{name}`"))?;
    let mut operands = Vec::new();
    op.for_each_operand(|v| operands.push(v));
    for (i, operand) in operands.iter_mut().enumerate() {
        if i > 0 {
            cursor.expect(",")?;
        }
        *operand = cursor.value()?;
    }
    let mut operands = operands.into_iter();
    Ok(op.map_operands(|v| operands.next().unwrap_or(v)))
}

/// A constant of type `ty`.
fn parse_const(text: &str, ty: Type) -> Result<Const, String> {
    let wrong = || format!("`{text}` is not a constant of type {}", ty.name());
    let bits = text.strip_prefix("0x");
    match ty {
        Type::F32 => match bits {
            Some(bits) => u32::from_str_radix(bits, 16).map(Const::F32).map_err(|_| wrong()),
            None => text.parse().map(Const::f32).map_err(|_| wrong()),
        },
        Type::F64 => match bits {
            Some(bits) => u64::from_str_radix(bits, 16).map(Const::F64).map_err(|_| wrong()),
            None => text.parse().map(Const::f64).map_err(|_| wrong()),
        },
        Type::I32 => text.parse().map(Const::I32).map_err(|_| wrong()),
        Type::I64 => text.parse().map(Const::I64).map_err(|_| wrong()),
        Type::Bool => text.parse().map(Const::Bool).map_err(|_| wrong()),
    }
}

/// One token: a quoted name, unescaped, or any other.
#[derive(Debug, PartialEq)]
enum Token {
    Quoted(String),
    Plain(String),
}

/// The tokens of a line: quoted names, the signs `{ } , : =`, and words between them.
fn tokens(line: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '#' => break,
            c if c.is_whitespace() => {}
            '{' | '}' | ',' | ':' | '=' => tokens.push(Token::Plain(c.to_string())),
            '"' => tokens.push(Token::Quoted(unquote(&mut chars)?)),
            c => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !"{},:=#\"".contains(*c)) {
                    word.push(c);
                }
                tokens.push(Token::Plain(word));
            }
        }
    }
    Ok(tokens)
}

/// The rest of a quoted name, after the quote.
fn unquote(chars: &mut impl Iterator<Item = char>) -> Result<String, String> {
    let mut name = String::new();
    loop {
        match chars.next() {
            Some('"') => return Ok(name),
            Some('\\') => match chars.next() {
                Some(c @ ('"' | '\\')) => name.push(c),
                Some('u') => {
                    let digits: String = chars.by_ref().skip(1).take_while(|&c| c != '}').collect();
                    let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    name.push(c.ok_or("a character is `\\u{HEX}`")?);
                }
                _ => return Err("a backslash escapes `\"`, `\\` or `u{HEX}`".into()),
            },
            Some(c) => name.push(c),
            None => return Err("a quote is not closed".into()),
        }
    }
}

/// The tokens of a line that are still to be read.
struct Cursor<'t> {
    tokens: &'t [Token],
}

impl<'t> Cursor<'t> {
    /// The next token, unless it is quoted or the line ends.
    fn next(&mut self) -> Option<&'t str> {
        match self.tokens.split_first() {
            Some((Token::Plain(text), rest)) => {
                self.tokens = rest;
                Some(text)
            }
            _ => None,
        }
    }

    /// Whether the next token is `text`; if so, it is read.
    fn eat(&mut self, text: &str) -> bool {
        let found = matches!(self.tokens.first(), Some(Token::Plain(next)) if next == text);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.eat(text) { Ok(()) } else { Err(format!("`{text}` is missing")) }
    }

    fn end(&self) -> Result<(), String> {
        if self.tokens.is_empty() { Ok(()) } else { Err("the line goes on after its end".into()) }
    }

    /// A declared name, quoted or plain.
    fn name(&mut self) -> Result<String, String> {
        if let Some((Token::Quoted(name), rest)) = self.tokens.split_first() {
            self.tokens = rest;
            return Ok(name.clone());
        }
        match self.next() {
            Some(name) if is_plain(name) => Ok(name.to_string()),
            Some(name) => Err(format!("`{name}` is not a name; quotes would make it one")),
            None => Err("a name is missing".into()),
        }
    }

    /// `%7`
    fn value(&mut self) -> Result<Value, String> {
        let text = self.next().ok_or("a value is missing")?;
        let number = text.strip_prefix('%').and_then(|n| n.parse().ok());
        number.map(Value).ok_or_else(|| format!("`{text}` is not a value, such as `%7`"))
    }

    fn ty(&mut self) -> Result<Type, String> {
        self.one_of(&[Type::F32, Type::F64, Type::I32, Type::I64, Type::Bool], Type::name, "a type")
    }

    /// The one of `all` whose name comes next.
    fn one_of<T: Copy>(&mut self, all: &[T], name: fn(T) -> &'static str, what: &str) -> Result<T, String> {
        let text = self.next().ok_or_else(|| format!("{what} is missing"))?;
        all.iter().copied().find(|&x| name(x) == text).ok_or_else(|| format!("`{text}` is not {what}"))
    }

    fn stream(&mut self, kernel: &Kernel) -> Result<u32, String> {
        let names: Vec<&str> = kernel.streams.iter().map(|s| s.name.as_str()).collect();
        self.reference(&names, "stream")
    }

    /// A name that exactly one of `names` is, or an index.
    fn reference(&mut self, names: &[&str], what: &str) -> Result<u32, String> {
        let text = self.next().ok_or_else(|| format!("a {what} is missing"))?;
        if let Ok(index) = text.parse() {
            return Ok(index);
        }
        let mut found = (0..).zip(names).filter(|(_, name)| **name == text);
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Ok(index),
            (None, _) => Err(format!("there is no {what} `{text}`")),
            _ => Err(format!("two {what}s are called `{text}`: use the index")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::print_kernel;

    fn error(text: &str) -> (usize, String) {
        let error = parse_kernel(text).unwrap_err();
        (error.line, error.message)
    }

    #[test]
    fn errors_name_their_line() {
        let head = "kernel k f32 {\nuniform u\nstream p f32 rw\n";
        let cases = [
            ("", 1, "the text ends before the kernel does"),
            ("kernel k f32 {\n", 1, "the text ends before the kernel does"),
            ("kernel 1k f32 {", 1, "`1k` is not a name; quotes would make it one"),
            ("kernel k f16 {", 1, "`f16` is not a type"),
            ("kernel k f32 {\n}\n\nmore", 4, "text after the closing brace"),
            (&format!("{head}%1 = load p\n}}"), 4, "this instruction is %0, not %1"),
            (&format!("{head}%0 = load q\n}}"), 4, "there is no stream `q`"),
            (&format!("{head}%0 = load p, %1\n}}"), 4, "the line goes on after its end"),
            (&format!("{head}%0 = load p\n%1 = mul %0\n}}"), 5, "`,` is missing"),
            (&format!("{head}%0 = load p\n%1 = mull %0, %0\n}}"), 5, "there is no operation `mull`"),
            (&format!("{head}%0 = load p\n%1: i32 = neg %0\n}}"), 5, "this is f32, not i32"),
            (&format!("{head}%0 = const one\n}}"), 4, "`one` is not a constant of type f32"),
            (&format!("{head}%0 = load p\nuniform v\n}}"), 5, "declarations come before the first instruction"),
            (&format!("{head}uniform u\n%0 = uniform u\n}}"), 5, "two uniforms are called `u`: use the index"),
        ];
        for (text, line, message) in cases {
            assert_eq!(error(text), (line, message.to_string()), "{text}");
        }
    }

    #[test]
    fn names_and_constants_of_every_kind_come_back() {
        let names =
            ["β1", "adam.m", "", "1 - beta1", "a\"b\\c", "line\nbreak\t\u{2028}", "a..b", "#", "%c1", "twin", "twin"];
        let floats = [0, 1, 0x8000_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffff_ffff, 0x7f80_0001, 0x3dcc_cccd];
        let mut kernel = Kernel {
            name: "the \"best\" rule".into(),
            compute: Type::F32,
            uniforms: names.map(String::from).into(),
            streams: names
                .map(|n| Stream {
                    name: n.into(),
                    storage: Storage::F32,
                    access: Access::ReadWrite,
                    block: n.is_empty(),
                })
                .into(),
            body: Vec::new(),
        };
        kernel.body.extend((0..names.len() as u32).map(KernelInst::Uniform));
        kernel.body.extend((0..names.len() as u32).map(KernelInst::Load));
        kernel.body.extend((0..names.len() as u32).map(|i| KernelInst::Store(i, Value(i))));
        kernel.body.extend(floats.map(|bits| KernelInst::Op(Op::Const(Const::F32(bits)))));
        kernel.body.extend(
            [Const::F64(0x7ff8_0000_0000_0001), Const::f64(0.1), Const::I32(-3), Const::Bool(true)]
                .map(|c| KernelInst::Op(Op::Const(c))),
        );
        // Not well-formed, and still itself: nothing is lost of any kernel.
        kernel.body.push(KernelInst::Load(99));
        kernel.body.push(KernelInst::Op(Op::Bitcast(Type::I64, Value(99))));
        kernel.body.push(KernelInst::Op(Op::Unary(Unary::Not, Value(1000))));
        let text = print_kernel(&kernel);
        assert_eq!(parse_kernel(&text).as_ref(), Ok(&kernel), "{text}");
    }

    #[test]
    fn every_operation_has_its_own_name() {
        let names: std::collections::BTreeSet<_> = operations().map(super::super::print::op_name).collect();
        assert_eq!(names.len(), operations().count());
        for op in operations() {
            let text = super::super::print::print_op(op);
            let tokens = tokens(&text).unwrap();
            assert_eq!(parse_op(&mut Cursor { tokens: &tokens }, Type::F32), Ok(op));
        }
    }
}
