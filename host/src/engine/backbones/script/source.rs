//! The source of a network, which libtorch compiles: every name in it must be one that is known to be harmless.
//!
//! TorchScript is a small part of Python. Source that libtorch itself has written uses a still smaller one: operators stand
//! behind `torch.` and `ops.`, methods and parts are those of the archive's own classes, and a few functions are built in.
//! That is what is let through here. Whatever else there is (a word, a sign, a form of text) is refused: nothing is let
//! through because nobody thought of it.

use super::operators::{is_listed, is_listed_namespaced, is_other};
use std::collections::BTreeSet;

/// Words of the language, and the two numbers that have names. `while` is not one of them: nothing would end such a loop, and
/// layers do not need it.
const KEYWORDS: [&str; 18] = [
    "False", "None", "True", "and", "class", "def", "else", "for", "if", "in", "inf", "is", "nan", "not", "or", "pass",
    "return", "self",
];
/// Types, as annotations name them.
const TYPES: [&str; 20] = [
    "Any",
    "Device",
    "Dict",
    "Final",
    "Layout",
    "List",
    "MemoryFormat",
    "Module",
    "NamedTuple",
    "NoneType",
    "Optional",
    "Scalar",
    "Tensor",
    "Tuple",
    "Union",
    "bool",
    "complex",
    "float",
    "int",
    "str",
];
/// Functions that are built in: they look at a value's type, or make an empty one. `float`, `int`, `bool` and `str` are types, too.
const FUNCTIONS: [&str; 6] = ["annotate", "getattr", "isinstance", "range", "unchecked_cast", "uninitialized"];
/// What a class and a file say of themselves.
const SPECIAL: [&str; 5] = ["__annotations__", "__buffers__", "__constants__", "__parameters__", "op_version_set"];
/// What else is built in and does more than compute; no variable may be called so, lest one is taken for the other.
const BUILT_IN: [&str; 15] = [
    "CONSTANTS",
    "awaitable",
    "enumerate",
    "eval",
    "exec",
    "fork",
    "hasattr",
    "open",
    "ops",
    "print",
    "rpc_async",
    "rpc_remote",
    "rpc_sync",
    "torch",
    "while",
];

/// Brackets within brackets, blocks within blocks, and signs of arithmetic in one statement: libtorch's compiler calls itself for
/// each.
const DEEPEST: usize = 100;
const WIDEST_INDENT: usize = 200;
const MOST_SIGNS: usize = 250;

/// A word of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a str),
    Number,
    Text(&'a str),
    Sign(u8),
    /// A line's end outside of brackets.
    End,
}

/// Everything that is wrong with the sources of an archive; each is a file's name and its text. The first is told.
pub fn check(sources: &[(&str, &str)]) -> Result<(), String> {
    let mut files = Vec::new();
    for (file, text) in sources {
        files.push((*file, tokens(text).map_err(|problem| format!("`{file}` {problem}"))?));
    }
    let mut declared = BTreeSet::new();
    files.iter().for_each(|(_, tokens)| declare(tokens, &mut declared));
    if let Some(name) = declared.iter().find(|name| is_other(name)) {
        return Err(format!("it calls a part of its own `{name}`, as an operator is called that is not on the list"));
    }
    for (file, tokens) in &files {
        let mut checker = Checker { tokens, declared: &declared, locals: BTreeSet::new() };
        checker.check().map_err(|problem| format!("`{file}` {problem}"))?;
    }
    Ok(())
}

/// The words of a source; errs at the first sign that libtorch does not write.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let bytes = text.as_bytes();
    let (mut tokens, mut at, mut depth, mut signs) = (Vec::new(), 0, 0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let rest = &text[at..];
        let length = match byte {
            b' ' => rest.bytes().take_while(|byte| *byte == b' ').count(),
            b'\n' => {
                if rest[1..].bytes().take_while(|byte| *byte == b' ').count() > WIDEST_INDENT && depth == 0 {
                    return Err(format!("has blocks that are indented by more than {WIDEST_INDENT}"));
                }
                if depth == 0 {
                    tokens.push(Token::End);
                    signs = 0;
                }
                1
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let length = word_length(rest);
                let name = &rest[..length];
                signs += usize::from(["not", "and", "or", "in", "is", "if"].contains(&name));
                tokens.push(Token::Name(name));
                length
            }
            b'0'..=b'9' => {
                tokens.push(Token::Number);
                number_length(rest).ok_or_else(|| format!("has the number `{}`", shown(rest)))?
            }
            b'"' | b'\'' => {
                let length = text_length(rest).ok_or_else(|| format!("has the text {}", shown(rest)))?;
                tokens.push(Token::Text(&rest[1..length - 1]));
                length
            }
            b'(' | b'[' | b'{' => {
                depth += 1;
                tokens.push(Token::Sign(byte));
                1
            }
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1).ok_or("has a bracket too many")?;
                tokens.push(Token::Sign(byte));
                1
            }
            b',' | b':' | b'=' | b'.' => {
                signs += usize::from(byte == b'.');
                tokens.push(Token::Sign(byte));
                1
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'!' | b'&' | b'|' | b'^' | b'~' => {
                signs += 1;
                tokens.push(Token::Sign(byte));
                1
            }
            _ => return Err(format!("has the sign `{}`, which is not on the list", shown(rest))),
        };
        // A list may have many items, each with a sign of its own.
        if byte == b',' {
            signs = 0;
        }
        if depth > DEEPEST || signs > MOST_SIGNS {
            return Err("is nested too deep".to_owned());
        }
        at += length;
    }
    tokens.push(Token::End);
    Ok(tokens)
}

/// The beginning of a text, for messages.
fn shown(rest: &str) -> String {
    rest.chars().take(20).flat_map(char::escape_default).collect()
}

fn word_length(rest: &str) -> usize {
    rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

/// A number whose end cannot be taken for a name's beginning.
fn number_length(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = digits(0);
    if bytes.get(length) == Some(&b'.') {
        length += 1 + digits(length + 1);
    }
    if bytes.get(length) == Some(&b'e') {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        length += 1 + sign + exponent;
        if exponent == 0 {
            return None;
        }
    }
    let follows = |byte: &u8| byte.is_ascii_alphanumeric() || [b'_', b'.', b'"', b'\''].contains(byte);
    (!bytes.get(length).is_some_and(follows)).then_some(length)
}

/// A text in one line of plain letters, with the marks around it.
fn text_length(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let mark = bytes[0];
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if matches!(bytes.get(at + 1)?, b'\\' | b'\'' | b'"' | b'n' | b't') => at += 2,
            byte if byte == mark => {
                // Two marks and a third begin a text of several lines.
                return (bytes.get(at + 1) != Some(&mark)).then_some(at + 1);
            }
            b'\\' | ..=0x1f | 0x7f.. => return None,
            _ => at += 1,
        }
    }
}

/// The names of an archive's own classes, functions, methods and parts.
fn declare<'a>(tokens: &[Token<'a>], declared: &mut BTreeSet<&'a str>) {
    for (i, token) in tokens.iter().enumerate() {
        let before = i.checked_sub(1).map(|at| &tokens[at]);
        match (before, token, tokens.get(i + 1)) {
            (Some(Token::Name("def" | "class")), Token::Name(name), _) => _ = declared.insert(name),
            // `weight : Tensor`, at the beginning of a line.
            (None | Some(Token::End), Token::Name(name), Some(Token::Sign(b':'))) if !KEYWORDS.contains(name) => {
                declared.insert(name);
            }
            // `__annotations__["0"] = ...`
            (Some(Token::Sign(b'[')), Token::Text(name), Some(Token::Sign(b']')))
                if i >= 2 && tokens[i - 2] == Token::Name("__annotations__") =>
            {
                declared.insert(name);
            }
            _ => {}
        }
    }
}

struct Checker<'t, 'a> {
    tokens: &'t [Token<'a>],
    declared: &'t BTreeSet<&'a str>,
    /// The variables of the function that is being read.
    locals: BTreeSet<&'a str>,
}

impl<'a> Checker<'_, 'a> {
    fn check(&mut self) -> Result<(), String> {
        let mut at = 0;
        let mut is_start = true;
        while let Some(token) = self.tokens.get(at) {
            if is_start {
                self.begin_statement(at)?;
            }
            is_start = *token == Token::End;
            at = match token {
                Token::Name(name) => self.name(at, name)?,
                Token::Sign(b'.') if !matches!(self.tokens.get(at + 1), Some(Token::Name(_))) => {
                    return Err("has a dot without a name behind it".to_owned());
                }
                _ => at + 1,
            };
        }
        Ok(())
    }

    fn sign(&self, at: usize) -> Option<u8> {
        match self.tokens.get(at) {
            Some(Token::Sign(sign)) => Some(*sign),
            _ => None,
        }
    }

    /// Take up the variables that a statement makes: parameters of a function, targets of an assignment and of a loop.
    fn begin_statement(&mut self, at: usize) -> Result<(), String> {
        let end = self.tokens[at..].iter().position(|token| *token == Token::End).map_or(self.tokens.len(), |n| at + n);
        match self.tokens.get(at) {
            Some(Token::Name("class")) => self.locals.clear(),
            Some(Token::Name("def")) => {
                self.locals.clear();
                for i in at + 2..end {
                    if let (Token::Name(name), Some(b':' | b',' | b')')) = (&self.tokens[i], self.sign(i + 1))
                        && matches!(self.sign(i - 1), Some(b'(' | b','))
                    {
                        self.take_up(name)?;
                    }
                }
            }
            Some(Token::Name("for")) => {
                let targets = self.tokens[at + 1..end].iter().take_while(|token| **token != Token::Name("in"));
                for token in targets {
                    if let Token::Name(name) = token {
                        self.take_up(name)?;
                    }
                }
            }
            _ => self.take_up_targets(at, end)?,
        }
        Ok(())
    }

    /// `a, b, = ...` and `a = ...`: names and commas up to the first sign that is neither.
    fn take_up_targets(&mut self, at: usize, end: usize) -> Result<(), String> {
        let mut targets = Vec::new();
        for i in at..end {
            match &self.tokens[i] {
                Token::Name(name) => targets.push(*name),
                Token::Sign(b',') => {}
                Token::Sign(b'=') if self.sign(i + 1) != Some(b'=') => {
                    for name in targets {
                        // What a class says of itself is no variable.
                        if !SPECIAL.contains(&name) {
                            self.take_up(name)?;
                        }
                    }
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn take_up(&mut self, name: &'a str) -> Result<(), String> {
        let words = [&KEYWORDS[..], &TYPES, &FUNCTIONS, &BUILT_IN];
        if name != "self" && (words.iter().any(|words| words.contains(&name)) || name == "__torch__") {
            return Err(format!("has a variable called `{name}`, which is built in"));
        }
        self.locals.insert(name);
        Ok(())
    }

    /// A name with all that follows it behind dots; where the next word begins.
    fn name(&self, at: usize, name: &str) -> Result<usize, String> {
        let mut path = Vec::new();
        let mut next = at + 1;
        while self.sign(next) == Some(b'.') {
            let Some(Token::Name(step)) = self.tokens.get(next + 1) else {
                return Err("has a dot without a name behind it".to_owned());
            };
            path.push(*step);
            next += 2;
        }
        if at > 0 && self.sign(at - 1) == Some(b'.') {
            // Behind a bracket: a part of whatever stood in it.
            self.own(name)?;
            path.iter().try_for_each(|step| self.own(step))?;
            return Ok(next);
        }
        match (name, &path[..]) {
            ("torch", [operator]) if is_listed(operator) => {}
            ("torch", _) => return Err(not_listed("torch", &path)),
            ("ops", [namespace, operator]) if is_listed_namespaced(&format!("{namespace}.{operator}")) => {}
            ("ops", _) => return Err(not_listed("ops", &path)),
            ("__torch__", ["torch", "classes", ..]) => return Err(not_listed("__torch__", &path)),
            ("__torch__", _) => {}
            ("CONSTANTS", [_, steps @ ..]) => steps.iter().try_for_each(|step| self.own(step))?,
            ("getattr", []) => self.part_by_text(at)?,
            _ if self.is_known(at, name) => path.iter().try_for_each(|step| self.own(step))?,
            _ => return Err(format!("calls or reads `{name}`, which is not on the list")),
        }
        Ok(next)
    }

    /// Whether a name may stand where no dot is before it.
    fn is_known(&self, at: usize, name: &str) -> bool {
        let words = [&KEYWORDS[..], &TYPES, &FUNCTIONS, &SPECIAL];
        let is_declaration = matches!(at.checked_sub(1).map(|at| &self.tokens[at]), None | Some(Token::End))
            && self.sign(at + 1) == Some(b':');
        let is_title = at > 0 && matches!(self.tokens[at - 1], Token::Name("def" | "class"));
        // `f(x, dim=1)`: the name of a parameter, in an operator or a function that is looked at itself.
        let is_keyword = at > 0
            && matches!(self.sign(at - 1), Some(b'(' | b','))
            && self.sign(at + 1) == Some(b'=')
            && self.sign(at + 2) != Some(b'=');
        let is_any = words.iter().any(|words| words.contains(&name)) || self.locals.contains(name);
        is_any || is_declaration || is_title || is_keyword
    }

    /// A part of a value must be one that a class of the archive has: all else is an operator.
    fn own(&self, name: &str) -> Result<(), String> {
        match self.declared.contains(name) {
            true => Ok(()),
            false => Err(format!("calls or reads `.{name}`, which is not on the list")),
        }
    }

    /// `getattr(value, "0")`: the text is a part's name.
    fn part_by_text(&self, at: usize) -> Result<(), String> {
        let odd = || Err("has a `getattr` that is not on the list".to_owned());
        if self.sign(at + 1) != Some(b'(') {
            return odd();
        }
        let (mut depth, mut end) = (0, at + 1);
        loop {
            match self.tokens.get(end) {
                Some(Token::Sign(b'(' | b'[')) => depth += 1,
                Some(Token::Sign(b')' | b']')) => depth -= 1,
                Some(_) => {}
                None => return odd(),
            }
            if depth == 0 {
                break;
            }
            end += 1;
        }
        match &self.tokens[at + 2..end] {
            [.., Token::Sign(b','), Token::Text(name)] if self.declared.contains(name) => Ok(()),
            _ => odd(),
        }
    }
}

fn not_listed(root: &str, path: &[&str]) -> String {
    format!("calls `{}`, which is not on the list", [&[root], path].concat().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "class Net(Module):\n  __parameters__ = [\"weight\", ]\n  __buffers__ = []\n  weight : Tensor\n  \
                        training : bool\n  __annotations__[\"0\"] = __torch__.Part\n";

    /// A class with a method of this body.
    fn method(body: &str) -> String {
        format!("{HEAD}  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n    {body}\n")
    }

    fn checked(text: &str) -> Result<(), String> {
        check(&[("code/__torch__.py", text)])
    }

    #[test]
    fn what_libtorch_writes_is_accepted() {
        for body in [
            "return torch.relu(x)",
            "_0 = torch.add(x, CONSTANTS.c0, alpha=-1.0000000000000001e-05)\n    return _0",
            "weight = self.weight\n    _0, _1, = (weight, 1)\n    return torch.mul(_0, _1)",
            "_0 = getattr(self, \"0\")\n    return (_0).forward(x, )",
            "_0 = __torch__.torch.nn.functional.relu\n    return _0(x, False, )",
            "if torch.gt(torch.dim(x), 2):\n      y = x\n    else:\n      ops.prim.RaiseException(\"don\\'t\", \"E\")\n      \
             y = uninitialized(Tensor)\n    return y",
            "for _0 in range(torch.len([1, 2])):\n      x0 = torch.select(x, 0, _0)\n    return x0",
            "y = annotate(List[int], [])\n    z = unchecked_cast(Optional[int], None)\n    return x",
            "return -x + x[0:1, 2] * 2. / 3e+5 - float(1)",
        ] {
            checked(&method(body)).unwrap_or_else(|error| panic!("{body}: {error}"));
        }
        checked("def stack(x: Tensor,\n    n: Optional[int]=None) -> Tensor:\n  return torch.stack([x], 0)\n").unwrap();
    }

    #[test]
    fn whatever_could_reach_out_is_refused() {
        for (body, sentence) in [
            // Operators that are not on the list, by every way to their names.
            ("return torch.from_file(\"a\", True, 1)", "`torch.from_file`"),
            ("torch.save(x, \"a\")\n    return x", "`torch.save`"),
            ("f = torch.from_file\n    return f(\"a\", True, 1)", "`torch.from_file`"),
            ("return ops.aten.from_file(\"a\", True, 1)", "`ops.aten.from_file`"),
            ("return ops.mine.evil(x)", "`ops.mine.evil`"),
            ("f = ops.mine\n    return f.evil(x)", "`ops.mine`"),
            ("return ops.prim.PythonOp(x)", "`ops.prim.PythonOp`"),
            ("f = torch\n    return f.relu(x)", "`torch`"),
            ("f = ops\n    return x", "`ops`"),
            ("return torch.autograd.grad(x)", "`torch.autograd.grad`"),
            ("return torch.ops.aten.from_file(x)", "`torch.ops.aten.from_file`"),
            // As a method: libtorch looks for an operator by its name.
            ("return \"a\".from_file(True, 1)", "`.from_file`"),
            ("y = \"a\"\n    return y.from_file(True, 1)", "`.from_file`"),
            ("return (x).from_file(True, 1)", "`.from_file`"),
            ("return [x][0].from_file(True, 1)", "`.from_file`"),
            ("return x.weight.from_file(True, 1)", "`.from_file`"),
            ("return CONSTANTS.c0.from_file(True, 1)", "`.from_file`"),
            ("return getattr(\"a\", \"from_file\")(True, 1)", "`getattr`"),
            ("f = getattr\n    return f(\"a\", \"from_file\")(True, 1)", "`getattr`"),
            ("return x.relu()", "`.relu`"),
            ("return 1.from_file(x)", "has the number `1.from_file(x)"),
            ("return x. from_file(x)", "`.from_file`"),
            ("return x.\n", "has a dot"),
            // Classes in C++, and other built-in names.
            ("y = __torch__.torch.classes.quantized.Linear(x)\n    return x", "`__torch__.torch.classes"),
            ("print(\"a\")\n    return x", "`print`"),
            ("y = fork(self.forward, x)\n    return x", "`fork`"),
            ("f = print\n    f(\"a\")\n    return x", "`print`"),
            ("print(x)\n    print = x\n    return x", "`print`"),
            ("return rpc_sync(\"a\", x)", "`rpc_sync`"),
            ("return y\n    y = x", "`y`"),
            // Words and signs that libtorch does not write.
            ("import os\n    return x", "`import`"),
            ("y = lambda: 1\n    return x", "`lambda`"),
            ("with x as y:\n      pass\n    return x", "`with`"),
            ("global y\n    return x", "`global`"),
            ("while True:\n      x = torch.relu(x)\n    return x", "`while`"),
            ("while = x\n    return x", "`while`"),
            ("return x # type: ignore", "the sign `# type"),
            ("return x; torch.save(x)", "the sign `;"),
            ("return x @ x", "the sign `@"),
            ("return \\\n      x", "the sign `\\\\"),
            ("return `x`", "the sign ``x"),
            ("y = \"\"\"a\"\"\"\n    return x", "has the text"),
            ("y = \"\\x1b[2J\"\n    return x", "has the text"),
            ("y = \"a\n\"\n    return x", "has the text"),
            ("y = \"\u{202e}\"\n    return x", "has the text"),
            ("\treturn x", "the sign `\\t"),
            ("y = .5\n    return x", "has a dot without"),
            ("return x)", "a bracket too many"),
        ] {
            let error = checked(&method(body)).expect_err(body);
            assert!(error.contains(sentence), "{body}: {error}");
        }
    }

    /// A part with an operator's name would make that operator callable as a method of anything.
    #[test]
    fn no_part_has_the_name_of_an_operator_that_is_not_on_the_list() {
        for part in [
            "  from_file : Tensor\n",
            "  def save(self: __torch__.Net) -> Tensor:\n    return self.weight\n",
            "  __annotations__[\"from_file\"] = __torch__.Part\n",
            "class as_strided(Module):\n  training : bool\n",
            "def set_(x: Tensor) -> Tensor:\n  return x\n",
        ] {
            let error = checked(&format!("{HEAD}{part}")).expect_err(part);
            assert!(error.contains("as an operator is called"), "{part}: {error}");
        }
        checked(&format!("{HEAD}  relu : Tensor\n")).unwrap();
    }

    #[test]
    fn what_is_nested_or_chained_has_a_bound() {
        let deep = format!("return {}x{}", "(".repeat(DEEPEST + 1), ")".repeat(DEEPEST + 1));
        let chain = format!("return x{}", "+x".repeat(100_000));
        let nots = format!("return {}x", "not ".repeat(100_000));
        let dots = format!("return x{}", ".weight".repeat(100_000));
        let blocks: String = (0..300).map(|n| format!("{}if x:\n", " ".repeat(n + 4))).collect();
        for body in [deep, chain, nots, dots] {
            assert!(checked(&method(&body)).unwrap_err().contains("nested too deep"));
        }
        assert!(checked(&method(&blocks)).unwrap_err().contains("indented"));
        let list = format!("y = [{}]\n    return x", "-1, ".repeat(100_000));
        checked(&method(&list)).unwrap();
    }
}
