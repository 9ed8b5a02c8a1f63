# Flattens one JSON document into lines "path<TAB>value", path parts joined by "/". Escapes in strings are
# undone except control characters, which stay as written (\n), so that one value is always one line.
# Ends with status 1 on text that is not JSON.
{ text = text $0 "\n" }

END { at = 1; value(""); skip(); if (at <= length(text)) bad(); exit failed }

function bad() { failed = 1; exit 1 }
function skip() { while (index(" \t\r\n", substr(text, at, 1)) && at <= length(text)) at++ }
function peek() { skip(); return substr(text, at, 1) }
function take(wanted) { if (peek() != wanted) bad(); at++ }

function string(   out, c) {
    take("\"")
    for (;;) {
        c = substr(text, at++, 1)
        if (c == "" || c == "\n") bad()
        if (c == "\"") return out
        if (c == "\\") {
            c = substr(text, at++, 1)
            if (index("\"\\/", c) == 0) c = "\\" c
        }
        out = out c
    }
}

function value(path,   c, name, n) {
    c = peek()
    if (c == "{" || c == "[") {
        at++
        if (peek() == (c == "{" ? "}" : "]")) { at++; return }
        for (n = 0; ; n++) {
            name = n
            if (c == "{") { skip(); name = string(); take(":") }
            value(path == "" ? name : path "/" name)
            if (peek() != ",") break
            at++
        }
        take(c == "{" ? "}" : "]")
    } else if (c == "\"") {
        print path "\t" string()
    } else if (match(substr(text, at), /^[-+.0-9A-Za-z]+/)) {
        print path "\t" substr(text, at, RLENGTH)
        at += RLENGTH
    } else bad()
}
