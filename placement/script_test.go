package placement

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the output in testdata; the oracle must agree with it")

// TestScripts runs each file of testdata. A line that begins with two spaces is
// output of the command above it; # begins prose. Every plan is judged by the
// oracle, and applied.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 150 {
		t.Fatalf("%d scripts: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(string(want), "# ") {
				t.Fatal("the script begins without a line of prose")
			}
			got := runScript(t, string(want))
			if got == string(want) {
				return
			}
			if !*update {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// runScript returns the script with the output that it should have.
func runScript(t *testing.T, script string) string {
	s := &scripted{cluster: newCluster(t)}
	var out strings.Builder
	for number, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		output, err := s.command(strings.Fields(line))
		if err != nil {
			t.Fatalf("line %d: %v", number+1, err)
		}
		out.WriteString(output)
	}
	return out.String()
}

type scripted struct {
	*cluster
	budget int
}

// command runs one line: one of those of configure, of happen, or
//
//	budget N    plan
//	explain SYSTEM ITEM[.RANK]    brakes
func (s *scripted) command(words []string) (string, error) {
	verb, args := words[0], words[1:]
	switch verb {
	case "budget":
		_, err := fmt.Sscan(args[0], &s.budget)
		return "", err
	case "plan":
		return s.outcome(), nil
	case "explain":
		return s.explain(args)
	case "brakes":
		return s.brakes(), nil
	}
	known, err := s.configure(verb, args)
	if !known && err == nil {
		known, err = s.happen(verb, args)
	}
	if !known && err == nil {
		err = fmt.Errorf("unknown command %q", verb)
	}
	return "", err
}

func (s *scripted) outcome() string {
	res := s.planned(s.budget)
	out := listing(res)
	if len(res.Moves) > 0 {
		return out + "  --\n" + s.holdings()
	}
	if out == "" {
		return "  nothing to do\n"
	}
	return out
}

func (s *scripted) explain(args []string) (string, error) {
	k, err := keyOf(args[0], args[1])
	if err != nil {
		return "", err
	}
	e, ok := Explain(s.view(0), k)
	if !ok {
		return "  there is no such slot\n", nil
	}
	if complaints := judgeExplanation(s.view(0), e, s.oracle); len(complaints) > 0 {
		s.t.Fatalf("the oracle rejects the explanation:\n%s\n%s", strings.Join(complaints, "\n"), explained(e))
	}
	return explained(e), nil
}
