package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-isatty"
)

// The colours of a line, as SGR codes.
const (
	plain  = ""
	bold   = "1"
	red    = "31"
	yellow = "33"
)

// painter colours whole lines, after they were aligned: an escape sequence
// inside a cell would count as its width.
type painter bool

// painter says whether Stdout wants colour: a terminal does, unless NO_COLOR
// (https://no-color.org) is set or it can do nothing.
func (a *App) painter() painter {
	if a.Env("NO_COLOR") != "" || a.Env("TERM") == "dumb" {
		return false
	}
	f, ok := a.Stdout.(*os.File)
	if !ok {
		return false
	}
	return painter(isatty.IsTerminal(f.Fd()))
}

func (p painter) line(colour, text string) string {
	if !p || colour == plain || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// table is rows under a header, aligned, each line with a colour.
type table struct {
	rows    [][]string
	colours []string
}

func newTable(header ...string) *table {
	t := &table{}
	t.add(bold, header...)
	return t
}

func (t *table) add(colour string, cells ...string) {
	for i, c := range cells {
		// A newline or tab in a name must not break the table.
		cells[i] = strings.NewReplacer("\n", " ", "\t", " ").Replace(c)
	}
	t.rows = append(t.rows, cells)
	t.colours = append(t.colours, colour)
}

func (t *table) write(w io.Writer, p painter) {
	var buf bytes.Buffer
	tw := tabwriter.NewWriter(&buf, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		_, _ = fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush()
	for i, line := range strings.Split(strings.TrimSuffix(buf.String(), "\n"), "\n") {
		_, _ = fmt.Fprintln(w, p.line(t.colours[i], strings.TrimRight(line, " ")))
	}
}

// printJSON writes a value for machines and for eyes.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// spoken is a number of milliseconds as a person says it.
func spoken(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", ms)
	case d < time.Minute:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d d %d h", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// or is text, or what stands for nothing.
func or(text, nothing string) string {
	if text == "" {
		return nothing
	}
	return text
}
