// Package results is what the measurements of the network lab come to: a row
// for each fault, timing and family of addresses, judged against its aim.
package results

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is one row. A figure without an aim is printed and not judged.
type Result struct {
	Fault  string `json:"fault"`
	Timing string `json:"timing"`
	Family string `json:"family,omitempty"` // ipv4 or ipv6; "": of no family
	Unit   string `json:"unit"`             // of median, worst and aim
	Trials int    `json:"trials"`
	// Lower is better in all.
	Median float64 `json:"median"`
	Worst  float64 `json:"worst"`
	Aim    float64 `json:"aim,omitempty"`
	// The longest that two held the same, in milliseconds, the tolerance not taken
	// off; nil: not looked at. None is meant to be but in the harness's controls.
	Overlap *float64 `json:"overlap,omitempty"` // two hosts answered for an address
	Twice   *float64 `json:"twice,omitempty"`   // two processes of an item's hooks were alive
}

// The largest multiple of its aim that a median may be: what a busy machine
// adds is a few tens of milliseconds, whatever the aim.
const (
	largeAim    = 300.0 // milliseconds
	largeFactor = 2
	smallFactor = 5
)

// Limit is the largest median that passes; 0: any does.
func (r Result) Limit() float64 {
	if r.Aim >= largeAim && r.Unit == "ms" {
		return largeFactor * r.Aim
	}
	return smallFactor * r.Aim
}

// Key names a row.
type Key struct{ Fault, Timing, Family string }

// Key is the row's name.
func (r Result) Key() Key { return Key{r.Fault, r.Timing, r.Family} }

// Of makes a row of the trials' durations, in milliseconds.
func Of(key Key, trials []time.Duration, aim time.Duration) Result {
	ms := make([]float64, len(trials))
	for i, d := range trials {
		ms[i] = float64(d) / float64(time.Millisecond)
	}
	return Figures(key, "ms", ms, float64(aim)/float64(time.Millisecond))
}

// Figures makes a row of the trials' figures.
func Figures(key Key, unit string, trials []float64, aim float64) Result {
	sorted := slices.Sorted(slices.Values(trials))
	r := Result{Fault: key.Fault, Timing: key.Timing, Family: key.Family, Unit: unit, Trials: len(sorted), Aim: aim}
	if n := len(sorted); n > 0 {
		r.Median, r.Worst = (sorted[(n-1)/2]+sorted[n/2])/2, sorted[n-1]
	}
	return r
}

// Check finds all that is wrong: a row that is missing, trials that are short, a
// median beyond its limit.
func Check(rows []Result, want []Key, trials int) error {
	var errs []error
	for _, k := range want {
		if !slices.ContainsFunc(rows, func(r Result) bool { return r.Key() == k }) {
			errs = append(errs, fmt.Errorf("%s (%s %s) was not measured", k.Fault, k.Timing, k.Family))
		}
	}
	for _, r := range rows {
		name := fmt.Sprintf("%s (%s %s)", r.Fault, r.Timing, r.Family)
		if r.Trials < trials {
			errs = append(errs, fmt.Errorf("%s: %d trials, want %d", name, r.Trials, trials))
		}
		if limit := r.Limit(); limit > 0 && r.Median > limit {
			errs = append(errs, fmt.Errorf("%s: median %.1f %s is beyond %.0f, the aim being %.0f", name, r.Median, r.Unit, limit, r.Aim))
		}
	}
	return errors.Join(errs...)
}

// Merge puts new rows over those of the same name.
func Merge(old, fresh []Result) []Result {
	out := slices.DeleteFunc(slices.Clone(old), func(o Result) bool {
		return slices.ContainsFunc(fresh, func(f Result) bool { return f.Key() == o.Key() })
	})
	out = append(out, fresh...)
	slices.SortFunc(out, func(a, b Result) int {
		return cmp.Or(-cmp.Compare(a.Timing, b.Timing), cmp.Compare(a.Fault, b.Fault), cmp.Compare(a.Family, b.Family))
	})
	return out
}

// Write puts the rows into a file, as JSON, over those that it has.
func Write(path string, fresh []Result) error {
	old, err := Read(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	data, err := json.MarshalIndent(Merge(old, fresh), "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// Read reads what Write wrote.
func Read(path string) ([]Result, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	var rows []Result
	if err := json.Unmarshal(data, &rows); err != nil {
		return nil, fmt.Errorf("read the results of %s: %w", path, err)
	}
	return rows, nil
}

// Table prints rows for people.
func Table(w io.Writer, rows []Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	say := func(cells ...any) {
		for _, c := range cells {
			_, _ = fmt.Fprintf(tw, "%v\t", c)
		}
		_, _ = fmt.Fprintln(tw)
	}
	say("TIMING", "FAULT", "FAMILY", "TRIALS", "MEDIAN", "WORST", "AIM", "OF AIM", "UNIT", "TWO HOSTS", "TWO HOOKS")
	for _, r := range rows {
		aim, part := "-", "-"
		if r.Aim > 0 {
			aim, part = fmt.Sprintf("%.0f", r.Aim), fmt.Sprintf("%.2f", r.Median/r.Aim)
		}
		say(r.Timing, r.Fault, cmp.Or(r.Family, "-"), r.Trials, fmt.Sprintf("%.1f", r.Median), fmt.Sprintf("%.1f", r.Worst), aim, part, r.Unit, shared(r.Overlap), shared(r.Twice))
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	return nil
}

// Guarantees prints, as a table in Markdown, the rows that say whether two held
// the same: for docs/guarantees.md. The worse one of both families counts.
func Guarantees(w io.Writer, rows []Result) error {
	var b strings.Builder
	b.WriteString("| fault | timing | trials | outage, median ms | worst | aim | two hosts answered, ms | two hook processes, ms |\n|---|---|---|---|---|---|---|---|\n")
	for i, r := range rows {
		if r.Overlap == nil && r.Twice == nil {
			continue
		}
		if i > 0 && rows[i-1].Fault == r.Fault && rows[i-1].Timing == r.Timing {
			continue // its other family has been printed
		}
		for _, o := range rows[i+1:] {
			if o.Fault == r.Fault && o.Timing == r.Timing {
				r.Median, r.Worst, r.Overlap = max(r.Median, o.Median), max(r.Worst, o.Worst), longer(r.Overlap, o.Overlap)
			}
		}
		median, worst, aim := "-", "-", "-"
		if r.Unit != "" {
			median, worst = fmt.Sprintf("%.0f", r.Median), fmt.Sprintf("%.0f", r.Worst)
		}
		if r.Aim > 0 {
			aim = fmt.Sprintf("%.0f", r.Aim)
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s | %s | %s | %s |\n", r.Fault, r.Timing, r.Trials, median, worst, aim, shared(r.Overlap), shared(r.Twice))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print the guarantees: %w", err)
	}
	return nil
}

func longer(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

// shared says for how long two held the same.
func shared(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", *ms)
}
