package metrics

import (
	"flag"
	"fmt"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table of docs/metrics.md")

const (
	begin = "<!-- table: begin -->\n"
	end   = "<!-- table: end -->\n"
)

// document is the table of all that the exporter has under its own name.
func document(t *testing.T, e *Exporter) string {
	t.Helper()
	all, err := e.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range all {
		if !strings.HasPrefix(f.GetName(), "flip_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, " "), f.GetHelp())
	}
	return b.String()
}
