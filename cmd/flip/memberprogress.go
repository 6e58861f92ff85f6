package main

import (
	"fmt"
	"io"
	"strings"
)

// progress shows how far something has come: on a terminal in one line that is
// written anew, elsewhere in a line for each change.
type progress struct {
	w        io.Writer
	rewrites bool
	quiet    bool
	last     string
}

// lineWidth is what of a step fits into one line of any terminal: a longer one
// would be left behind when it is written anew.
const lineWidth = 79

// step says where it stands, if that is news.
func (p *progress) step(words string) {
	if p.quiet || words == p.last {
		return
	}
	p.last = words
	if !p.rewrites {
		_, _ = fmt.Fprintln(p.w, words)
		return
	}
	if runes := []rune(words); len(runes) > lineWidth {
		words = string(runes[:lineWidth-1]) + "…"
	}
	_, _ = fmt.Fprint(p.w, "\r\x1b[K"+strings.ReplaceAll(words, "\n", " "))
}

// end takes the line away that is written anew.
func (p *progress) end() {
	if p.rewrites && !p.quiet && p.last != "" {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// line says something that stays.
func (p *progress) line(words string) {
	if !p.quiet {
		_, _ = fmt.Fprintln(p.w, words)
	}
}
