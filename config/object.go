package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/flip-ha/flip/fsm"
)

// object is one JSON object of the file with the keys that it may have.
type object struct {
	p     *parser
	at    int
	is    bool   // it is an object indeed
	path  string // "servers.n1."; "" at the top
	byKey map[string]member
}

// field is where a key stands, or would stand.
type field struct {
	at    int    // of the value, or of the object when the key is missing
	keyAt int    // of the key itself
	key   string // with its path
	set   bool   // the key is there
	good  bool   // and its value can be used
}

// object checks that v is an object and that it has only the level's keys.
// What is missing or no object comes back empty, so that reading goes on.
func (p *parser) object(v *value, path, level string) object {
	o := object{p: p, path: path, byKey: map[string]member{}}
	if v == nil {
		return o
	}
	o.at = v.at
	if v.kind != kindObject {
		p.fail(v.at, strings.TrimSuffix(path, "."), "", "must be an object, is %s", v.describe())
		return o
	}
	o.is = true
	known := keysOf(level)
	for _, m := range v.members {
		o.byKey[m.name] = m
		if !contains(known, m.name) {
			p.unknown(o, m, level, known)
		}
	}
	return o
}

// unknown reports a key that the level does not have.
func (p *parser) unknown(o object, m member, level string, known []string) {
	key := o.path + m.name
	hint := meant(m.name, known)
	if near := nearest(m.name, known); (near == "" || distance(m.name, near) > 1) && !strings.HasSuffix(level, "[].") {
		if home := levelWith(m.name, level); home != "" {
			hint = "it belongs " + home
		}
	}
	p.fail(m.at, key, hint, "unknown key")
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}

// get finds a key's value.
func (o object) get(name string) (*value, field) {
	m, ok := o.byKey[name]
	if !ok {
		return nil, field{at: o.at, keyAt: o.at, key: o.path + name}
	}
	return m.value, field{at: m.value.at, keyAt: m.at, key: o.path + name, set: true}
}

// oneOf finds the value of a key that has several names; two at once are an error.
func (o object) oneOf(names ...string) (*value, field) {
	v, f := o.get(names[0])
	for _, name := range names[1:] {
		other, g := o.get(name)
		switch {
		case !g.set:
		case f.set:
			o.p.fail(g.keyAt, g.key, "keep one of the two", "is another name of %s, which is there too", f.key)
		default:
			v, f = other, g
		}
	}
	return v, f
}

// child opens an object inside this one; a missing one is reported.
func (p *parser) child(o object, name, level string) object {
	v, f := o.get(name)
	if !f.set {
		p.missing(f, "")
	}
	return p.object(v, f.key+".", level)
}

func (p *parser) missing(f field, hint string) { p.fail(f.at, f.key, hint, "is missing") }

// wrong reports a value of another kind than wanted.
func (p *parser) wrong(v *value, f field, want, hint string) {
	p.fail(v.at, f.key, hint, "must be %s, is %s", want, v.describe())
}

// text reads a string that is not empty and that a process can be given.
func (o object) text(name string) (string, field) {
	v, f := o.get(name)
	return o.p.text(v, f)
}

func (p *parser) text(v *value, f field) (string, field) {
	switch {
	case !f.set:
	case v.kind != kindString:
		p.wrong(v, f, "a string", "")
	case v.text == "":
		p.fail(v.at, f.key, "", "is empty")
	case !printable(v.text):
		p.fail(v.at, f.key, "", "holds a control character")
	default:
		f.good = true
		return v.text, f
	}
	return "", f
}

// boolean reads true or false.
func (o object) boolean(name string) (bool, field) {
	v, f := o.get(name)
	if f.set && v.kind != kindBool {
		hint := ""
		if v.kind == kindString && (v.text == "true" || v.text == "false") {
			hint = "without the quotes"
		}
		o.p.wrong(v, f, "true or false", hint)
		return false, f
	}
	if f.set {
		f.good = true
		return v.yes, f
	}
	return false, f
}

// integer reads a whole number within bounds.
func (o object) integer(name string, least, most int64) (int64, field) {
	v, f := o.get(name)
	if !f.set {
		return 0, f
	}
	if v.kind != kindNumber {
		hint := ""
		if _, err := strconv.ParseInt(v.text, 10, 64); err == nil && v.kind == kindString {
			hint = "without the quotes: " + v.text
		}
		o.p.wrong(v, f, "a number", hint)
		return 0, f
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if err != nil {
		x, floatErr := strconv.ParseFloat(v.text, 64)
		const exact = 1 << 53 // beyond it a float skips whole numbers
		if floatErr != nil || math.Abs(x) > exact {
			o.p.fail(v.at, f.key, "", "%s is out of range: %d to %d", v.text, least, most)
			return 0, f
		}
		if x != math.Trunc(x) {
			o.p.fail(v.at, f.key, "", "must be a whole number, is %s", v.text)
			return 0, f
		}
		n = int64(x)
	}
	if n < least || n > most {
		o.p.fail(v.at, f.key, "", "%s is out of range: %d to %d", v.text, least, most)
		return 0, f
	}
	f.good = true
	return n, f
}

// duration reads milliseconds, or a string such as "1.5s", within bounds.
func (p *parser) duration(v *value, f field, least, most time.Duration) (time.Duration, field) {
	if !f.set {
		return 0, f
	}
	var d time.Duration
	switch v.kind {
	case kindNumber:
		ms, err := strconv.ParseFloat(v.text, 64)
		if err != nil || math.Abs(ms) > float64(math.MaxInt64/int64(time.Millisecond)) {
			p.fail(v.at, f.key, "", "%s ms is out of range: %s to %s", v.text, short(least), short(most))
			return 0, f
		}
		d = time.Duration(math.Round(ms * float64(time.Millisecond)))
	case kindString:
		var err error
		if d, err = time.ParseDuration(v.text); err != nil {
			p.fail(v.at, f.key, `write milliseconds as a number, or a string such as "1.5s"`, "%s is no duration", quote(v.text))
			return 0, f
		}
	default:
		p.wrong(v, f, "a duration", `milliseconds as a number, or a string such as "1.5s"`)
		return 0, f
	}
	if d < least || d > most {
		p.fail(v.at, f.key, "", "%s is out of range: %s to %s", short(d), short(least), short(most))
		return 0, f
	}
	f.good = true
	return d, f
}

func (o object) duration(name string, least, most time.Duration) (time.Duration, field) {
	v, f := o.get(name)
	return o.p.duration(v, f, least, most)
}

// word reads one of a few words.
func (o object) word(name string, words []string) (string, field) {
	s, f := o.text(name)
	if !f.good {
		return "", f
	}
	if !contains(words, s) {
		f.good = false
		o.p.fail(f.at, f.key, meant(s, words), "%s is unknown", quote(s))
		return "", f
	}
	return s, f
}

// printable reports whether s can be shown and passed on: no control characters.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
}

// name checks what becomes part of an identifier: a server's or a system's.
func (p *parser) name(m member, path, what string, allowed func(rune) bool) bool {
	key := path + m.name
	switch {
	case m.name == "":
		p.fail(m.at, strings.TrimSuffix(path, "."), "", "a %s needs a name", what)
	case len(m.name) > fsm.MaxName:
		p.fail(m.at, key, "", "the name of a %s has at most %d bytes, this one has %d", what, fsm.MaxName, len(m.name))
	case strings.ContainsFunc(m.name, func(r rune) bool { return !allowed(r) }) || m.name[0] == '.' || m.name[0] == '-':
		p.fail(m.at, key, "letters, digits and ._- are good everywhere", "the name of a %s cannot be %s", what, quote(m.name))
	default:
		return true
	}
	return false
}

// inSystemName: a system's name is an argument of commands and part of URLs.
func inSystemName(r rune) bool { return r != '/' && strconv.IsPrint(r) }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
