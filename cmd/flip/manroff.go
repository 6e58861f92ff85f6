package main

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"
)

//go:embed man.txt
var manText string

// sections are what the manual pages have that the commands do not say themselves.
type sections []*struct{ name, text string }

// take is the text of a section, which then is gone.
func (s sections) take(name string) string {
	for _, sec := range s {
		if sec.name == name {
			text := sec.text
			sec.text = ""
			return text
		}
	}
	return ""
}

// manNotes reads man.txt: "# COMMAND" begins a page, "## NAME" a section.
func manNotes() map[string]sections {
	notes := map[string]sections{}
	command := ""
	for line := range strings.Lines(manText) {
		switch {
		case strings.HasPrefix(line, "# "):
			command = strings.TrimSpace(line[2:])
			notes[command] = nil
		case strings.HasPrefix(line, "## "):
			notes[command] = append(notes[command], &struct{ name, text string }{name: strings.TrimSpace(line[3:])})
		case len(notes[command]) > 0:
			notes[command][len(notes[command])-1].text += line
		}
	}
	return notes
}

// option is a flag as the pages show it.
type option struct {
	names        []string
	value, usage string
	env          []string
	hidden       bool
}

var (
	placeholder = regexp.MustCompile("`([^`]+)`")
	alsoInEnv   = regexp.MustCompile(`also \$([A-Z_]+)`)
)

func optionOf(f cli.Flag) option {
	o := option{names: f.Names()}
	if v, ok := f.(cli.VisibleFlag); ok {
		o.hidden = !v.IsVisible()
	}
	doc, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return o
	}
	o.usage, o.env = doc.GetUsage(), doc.GetEnvVars()
	if doc.TakesValue() {
		o.value = "VALUE"
		if m := placeholder.FindStringSubmatch(o.usage); m != nil {
			o.value = m[1]
			o.usage = strings.Replace(o.usage, m[0], m[1], 1)
		}
		if text := doc.GetDefaultText(); text != "" {
			o.usage += " (default: " + strings.Trim(text, `"`) + ")"
		}
	}
	for _, m := range alsoInEnv.FindAllStringSubmatch(o.usage, -1) {
		o.env = append(o.env, m[1])
	}
	return o
}

func (o option) roffNames() string {
	var names []string
	for _, n := range o.names {
		name := `\fB` + roffCode(dashed(n)) + `\fR`
		if o.value != "" {
			name += `\ \fI` + roffName(o.value) + `\fR`
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// synopsis has each flag in brackets, which are not broken over two lines.
func synopsis(flags []cli.Flag) string {
	var out []string
	for _, f := range flags {
		o := optionOf(f)
		if !o.hidden {
			o.names = o.names[:1]
			out = append(out, "["+o.roffNames()+"]")
		}
	}
	return strings.Join(out, " ")
}

// environment is of the flags that have a variable.
func environment(flags []cli.Flag) string {
	var out strings.Builder
	for _, f := range flags {
		for _, env := range optionOf(f).env {
			line := fmt.Sprintf("- %s: as `%s`\n", env, dashed(f.Names()[0]))
			if !strings.Contains(out.String(), "- "+env+":") {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}

// roff is text for groff's man macros.
type roff struct{ strings.Builder }

func (r *roff) raw(lines ...string) {
	for _, l := range lines {
		r.WriteString(l + "\n")
	}
}

// macro quotes every argument.
func (r *roff) macro(name string, args ...string) {
	line := name
	for _, a := range args {
		line += ` "` + strings.ReplaceAll(roffName(a), `"`, `\(dq`) + `"`
	}
	r.raw(line)
}

func (r *roff) prose(text string) {
	line := roffProse(strings.Join(strings.Fields(text), " "))
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	r.raw(line)
}

// verbatim keeps lines as they are but for the indent that all share.
func (r *roff) verbatim(text string) {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	indent := len(text)
	for _, l := range lines {
		if l != "" {
			indent = min(indent, len(l)-len(strings.TrimLeft(l, " ")))
		}
	}
	r.raw(".EX")
	for _, l := range lines {
		r.raw(`\&` + roffCode(l[min(indent, len(l)):]))
	}
	r.raw(".EE")
}

// blocks reads the little markup of descriptions and notes: paragraphs, indented
// lines that stay as they are, and lists of "- TERM: text". The terms of files are
// set as such.
func (r *roff) blocks(text string, files bool) {
	for i, block := range paragraphs(text) {
		switch {
		case strings.HasPrefix(block, " "):
			r.raw(".PP", ".RS 4")
			r.verbatim(block)
			r.raw(".RE")
		case strings.HasPrefix(block, "- "):
			font := `\fB`
			if files {
				font = `\fI`
			}
			for _, item := range strings.Split("\n"+block, "\n- ")[1:] {
				term, about, _ := strings.Cut(item, ": ")
				r.raw(".TP", font+roffCode(strings.ReplaceAll(term, "`", ""))+`\fR`)
				r.prose(sentence(about))
			}
		default:
			if i > 0 {
				r.raw(".PP")
			}
			r.prose(block)
		}
	}
}

// paragraphs are parted by an empty line, or by a change between indented and not.
func paragraphs(text string) []string {
	var out []string
	apart := true
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		switch {
		case line == "":
			apart = true
		case apart, strings.HasPrefix(line, "  ") != strings.HasPrefix(out[len(out)-1], "  ") && !strings.HasPrefix(out[len(out)-1], "- "):
			out = append(out, line)
			apart = false
		default:
			out[len(out)-1] += "\n" + line
		}
	}
	return out
}

var (
	flagInProse = regexp.MustCompile(`(^|[\s(])(--?[a-z][a-z-]*)`)
	pageInProse = regexp.MustCompile(`\b([a-z][a-z0-9.-]*)\(([1-8])\)`)
	upperWord   = regexp.MustCompile(`[A-Z][A-Z:_,]*|[a-z][a-z-]*`)
)

// roffProse sets what stands between backquotes, flags and other pages in bold.
func roffProse(s string) string {
	var b strings.Builder
	for i, part := range strings.Split(s, "`") {
		if i%2 == 1 {
			b.WriteString(`\fB` + roffCode(part) + `\fR`)
			continue
		}
		part = roffEscape(part)
		part = flagInProse.ReplaceAllStringFunc(part, func(m string) string {
			flag := strings.TrimLeft(m, " \n\t(")
			return m[:len(m)-len(flag)] + `\fB` + strings.ReplaceAll(flag, "-", `\-`) + `\fR`
		})
		b.WriteString(pageInProse.ReplaceAllStringFunc(part, func(m string) string {
			name, section, _ := strings.Cut(strings.TrimSuffix(m, ")"), "(")
			return roffRef(name, section)
		}))
	}
	return b.String()
}

func roffRef(name, section string) string { return `\fB` + roffName(name) + `\fR(` + section + `)` }

// roffArgs sets what stands for something in italics, and words to be typed in bold.
func roffArgs(usage string) string {
	return upperWord.ReplaceAllStringFunc(roffEscape(usage), func(w string) string {
		if unicode.IsUpper(rune(w[0])) {
			return `\fI` + w + `\fR`
		}
		return `\fB` + roffName(w) + `\fR`
	})
}

// roffName keeps hyphens as they are typed.
func roffName(s string) string { return strings.ReplaceAll(roffEscape(s), "-", `\-`) }

// roffCode keeps every character as it is typed.
func roffCode(s string) string {
	return strings.NewReplacer("'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(roffName(s))
}

// roffEscape makes ASCII of s that groff takes as text.
func roffEscape(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '\\':
			b.WriteString(`\e`)
		case c > unicode.MaxASCII:
			fmt.Fprintf(&b, `\[u%04X]`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}
