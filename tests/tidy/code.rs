//! Rust as a row of words, near enough for rules about names: comments, strings and the code that
//! only tests see are gone.

use std::iter;

/// A name, a number or one character of punctuation, and the line that it stands on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Word<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// The words of `source`, without comments and what is in strings.
pub(crate) fn words(source: &str) -> Vec<Word<'_>> {
    let (mut rest, mut line) = (source, 1);
    iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            let length = length(rest, first);
            let (text, after) = rest.split_at(length);
            let word = Word { text, line };
            line += text.matches('\n').count();
            rest = after;
            if !first.is_whitespace() && !is_comment(text) && !is_literal(text) {
                return Some(word);
            }
        }
    })
    .collect()
}

/// How far the token, comment or literal reaches that `rest` begins with.
fn length(rest: &str, first: char) -> usize {
    let through = |end: &str, from: usize| {
        rest.get(from..).and_then(|r| r.find(end)).map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return through("*/", 2);
    }
    if let Some(hashes) = raw_string(rest) {
        let quote = rest.find('"').map_or(rest.len(), |at| at + 1);
        return through(&format!("\"{}", "#".repeat(hashes)), quote);
    }
    match first {
        '"' => quoted(rest, 1),
        'b' if rest.starts_with("b\"") => quoted(rest, 2),
        '\'' => character(rest),
        _ if is_name(first) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
        _ => first.len_utf8(),
    }
}

/// The number of `#` of a raw string.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let quote = after.find(|c| c != '#')?;
    after.get(quote..)?.starts_with('"').then_some(quote)
}

fn quoted(rest: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(from) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal whole; of a lifetime only the quote.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => {
            chars.find(|&(_, c)| c == '\'').map_or(rest.len(), |(at, _)| at + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_comment(text: &str) -> bool {
    text.starts_with("//") || text.starts_with("/*")
}

fn is_literal(text: &str) -> bool {
    text.len() > 1 && (text.ends_with('"') || text.ends_with("\"#") || text.starts_with('\''))
}

/// What is left without the items marked `#[cfg(test)]`, and the modules of which those are that
/// stand in files of their own.
pub(crate) fn without_tests<'a>(words: &[Word<'a>]) -> (Vec<Word<'a>>, Vec<&'a str>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut modules, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(word) = words.get(at) {
        let marked = words.get(at..at + MARK.len());
        if marked.is_some_and(|marked| marked.iter().map(|w| w.text).eq(MARK)) {
            let item = words.get(at + MARK.len()..).unwrap_or_default();
            let end = item_length(item);
            if let [.., keyword, name, semicolon] = item.get(..end).unwrap_or_default()
                && (keyword.text, semicolon.text) == ("mod", ";")
            {
                modules.push(name.text);
            }
            at += MARK.len() + end;
        } else {
            kept.push(word.clone());
            at += 1;
        }
    }
    (kept, modules)
}

/// Up to the semicolon or the closing brace of the first item.
fn item_length(words: &[Word<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, word) in words.iter().enumerate() {
        match word.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && word.text == "}" {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    words.len()
}

fn texts<'a>(words: &[Word<'a>]) -> Vec<&'a str> {
    words.iter().map(|word| word.text).collect()
}

#[test]
fn comments_and_literals_are_no_words() {
    let source = "a /* b */ \"c \\\" d\" // e\n'f' '\\'' r#\"g \" h\"# b\"i\" &'j k br\"l\"";
    assert_eq!(texts(&words(source)), ["a", "&", "'", "j", "k"]);
    assert_eq!(words("a\n\"\n\"\nb").last().unwrap().line, 4);
}

#[test]
fn what_tests_alone_see_is_left_out() {
    let source = "fn a() {} #[cfg(test)] #[allow(x)] mod tests { fn b() { {} } } \
                  #[cfg(test)] mod apart; fn c() {}";
    let all = words(source);
    let (kept, modules) = without_tests(&all);
    assert_eq!(texts(&kept).join(" "), "fn a ( ) { } fn c ( ) { }");
    assert_eq!(modules, ["apart"]);
}
