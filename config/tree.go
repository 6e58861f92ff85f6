package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a file; Flip's own keys need five levels, the
// rest is for what a system's config holds.
const maxDepth = 100

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// value is one JSON value with its place in the file.
type value struct {
	at      int // byte offset of its first character
	kind    kind
	text    string // of a string its value, of a number its literal
	yes     bool   // of a bool
	list    []*value
	members []member // in the file's order
}

type member struct {
	name  string
	at    int // of the key
	value *value
}

// describe says what a value is, for "must be a number, is …".
func (v *value) describe() string {
	switch v.kind {
	case kindNull:
		return "null"
	case kindBool:
		return fmt.Sprintf("%t", v.yes)
	case kindNumber:
		return v.text
	case kindString:
		return fmt.Sprintf("the string %s", quote(v.text))
	case kindArray:
		return "a list"
	case kindObject:
		return "an object"
	default:
		return "unknown"
	}
}

// quote shortens what would fill the screen.
func quote(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// lines turns byte offsets into lines and columns.
type lines struct {
	data   []byte
	starts []int
}

func newLines(data []byte) lines {
	starts := []int{0}
	for i, c := range data {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return lines{data, starts}
}

func (l lines) at(offset int) (line, column int) {
	offset = min(max(offset, 0), len(l.data))
	line = sort.SearchInts(l.starts, offset+1)
	return line, utf8.RuneCount(l.data[l.starts[line-1]:offset]) + 1
}

// blank replaces comments and a byte order mark by spaces, so that offsets stay
// what they are in the file.
func blank(data []byte) []byte {
	out := bytes.Clone(data)
	if bytes.HasPrefix(out, []byte("\xef\xbb\xbf")) {
		copy(out, "   ")
	}
	inString := false
	for i := 0; i < len(out); i++ {
		switch {
		case out[i] == '\\': // an escape, or an error whatever follows
			i++
		case out[i] == '"':
			inString = !inString
		case !inString && bytes.HasPrefix(out[i:], []byte("//")):
			for ; i < len(out) && out[i] != '\n'; i++ {
				out[i] = ' '
			}
		}
	}
	return out
}

// read parses the bytes into a tree, or reports why it cannot and returns nil.
func (p *parser) read(data []byte) *value {
	if bad := invalidUTF8(data); bad >= 0 {
		p.fail(bad, "", "save the file as UTF-8", "byte 0x%02x is not UTF-8", data[bad])
		return nil
	}
	clean := blank(data)
	r := &treeReader{p: p, clean: clean, dec: json.NewDecoder(bytes.NewReader(clean))}
	r.dec.UseNumber()
	root, ok := r.value(0)
	if !ok {
		return nil
	}
	if rest := r.peek(); rest < len(clean) {
		p.fail(rest, "", "one file holds one object", "something stands after the end of the configuration")
	}
	return root
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// treeReader builds the tree from encoding/json's tokens and their offsets.
type treeReader struct {
	p     *parser
	clean []byte
	dec   *json.Decoder
	open  []int    // offsets of brackets not yet closed
	path  []string // keys on the way here
}

// peek is the offset of the next token.
func (r *treeReader) peek() int {
	at := int(r.dec.InputOffset())
	for at < len(r.clean) && strings.IndexByte(" \t\r\n", r.clean[at]) >= 0 {
		at++
	}
	return at
}

// next reads a token and says where it begins.
func (r *treeReader) next() (json.Token, int, bool) {
	at := r.peek()
	if at < len(r.clean) && (r.clean[at] == ',' || r.clean[at] == ':') {
		at++
		for at < len(r.clean) && strings.IndexByte(" \t\r\n", r.clean[at]) >= 0 {
			at++
		}
	}
	t, err := r.dec.Token()
	if err != nil {
		r.syntax(err)
		return nil, at, false
	}
	return t, at, true
}

func (r *treeReader) value(depth int) (*value, bool) {
	t, at, ok := r.next()
	if !ok {
		return nil, false
	}
	if depth > maxDepth {
		r.p.fail(at, "", "", "nested deeper than %d levels", maxDepth)
		return nil, false
	}
	v := &value{at: at}
	switch t := t.(type) {
	case json.Delim:
		r.open = append(r.open, at)
		if t == '{' {
			v.kind, ok = kindObject, r.members(v, depth)
		} else {
			v.kind, ok = kindArray, r.items(v, depth)
		}
		r.open = r.open[:len(r.open)-1]
		return v, ok
	case string:
		v.kind, v.text = kindString, t
	case json.Number:
		v.kind, v.text = kindNumber, t.String()
	case bool:
		v.kind, v.yes = kindBool, t
	default:
		v.kind = kindNull
	}
	return v, true
}

func (r *treeReader) items(v *value, depth int) bool {
	for r.dec.More() {
		item, ok := r.value(depth + 1)
		if !ok {
			return false
		}
		v.list = append(v.list, item)
	}
	_, _, ok := r.next()
	return ok
}

func (r *treeReader) members(v *value, depth int) bool {
	seen := map[string]int{}
	for r.dec.More() {
		t, at, ok := r.next()
		if !ok {
			return false
		}
		name, isKey := t.(string)
		if !isKey { // the decoder refuses any other key
			r.p.fail(at, "", "", "a key must be a string")
			return false
		}
		r.path = append(r.path, name)
		first, twice := seen[name]
		if twice {
			line, column := r.p.lines.at(first)
			r.p.fail(at, strings.Join(r.path, "."), "remove one of the two", "is there twice, first at %d:%d", line, column)
		}
		inner, ok := r.value(depth + 1)
		if !ok {
			return false
		}
		r.path = r.path[:len(r.path)-1]
		if !twice { // the first counts for what is found later
			seen[name] = at
			v.members = append(v.members, member{name, at, inner})
		}
	}
	_, _, ok := r.next()
	return ok
}

// syntax reports the one error after which no more can be read.
func (r *treeReader) syntax(err error) {
	at := r.peek()
	if at >= len(r.clean) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		r.p.fail(at, "", r.unclosed(), "the file ends too early")
		return
	}
	what, hint := r.explain(at, err)
	r.p.fail(at, strings.Join(r.path, "."), hint, "%s", what)
}

// unclosed names the innermost bracket that is still open.
func (r *treeReader) unclosed() string {
	n := len(r.open)
	if n == 0 {
		return ""
	}
	line, column := r.p.lines.at(r.open[n-1])
	return fmt.Sprintf("the %c of %d:%d is not closed", r.clean[r.open[n-1]], line, column)
}

// explain puts the usual slips into words.
func (r *treeReader) explain(at int, err error) (what, hint string) {
	c, before := r.clean[at], r.before(at)
	message := err.Error()
	switch {
	case (c == '}' || c == ']') && before == ',':
		return "a comma stands before the closing bracket", "remove the comma"
	case c == '}' || c == ']':
		return "this bracket does not fit", r.unclosed()
	case c == ',' && strings.IndexByte(",{[", before) >= 0:
		return "one comma too many", "remove it"
	case c == ',' && r.follows(at, "}]"):
		return "a comma stands before the closing bracket", "remove the comma"
	case c == '\'':
		return "a string takes double quotes", `write " instead of '`
	case c == '#' || c == '/':
		return "this is no JSON", "comments begin with //"
	case strings.Contains(message, "after object key:value pair"), strings.Contains(message, "after array element"):
		return "a comma is missing before this", ""
	case strings.Contains(message, "after object key"):
		return "a colon is missing between key and value", ""
	case c == '"':
		return "this string is broken: " + message, "it must end on its line; \\ begins an escape"
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_':
		return "a word without quotes", "keys and strings stand in double quotes"
	default:
		return "this is no JSON: " + message, ""
	}
}

// before is the last character before at that is no space, 0 at the start.
func (r *treeReader) before(at int) byte {
	for at--; at >= 0; at-- {
		if strings.IndexByte(" \t\r\n", r.clean[at]) < 0 {
			return r.clean[at]
		}
	}
	return 0
}

// follows reports whether the next character after at that is no space is one of set.
func (r *treeReader) follows(at int, set string) bool {
	for at++; at < len(r.clean); at++ {
		if strings.IndexByte(" \t\r\n", r.clean[at]) < 0 {
			return strings.IndexByte(set, r.clean[at]) >= 0
		}
	}
	return false
}
