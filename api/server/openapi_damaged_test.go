package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
)

// A test that takes anything is none: each answer is damaged in every place, and
// none of that may pass.
func TestDamagedAnswersAreFound(t *testing.T) {
	c := readContract(t)
	n := 0
	for _, a := range asks {
		if a.path == PathMetrics || a.path == api.PathOpenAPI || a.path == api.PathState {
			continue
		}
		h := put(t, a)
		for what, bad := range damaged(t, h.body) {
			n++
			if h.held(c, bad) == nil {
				t.Errorf("%s %s: %s passes", h.method, h.path, what)
			}
		}
	}
	if n < 1000 {
		t.Errorf("only %d damaged answers", n)
	}
}

// damaged are copies of a JSON object with one field too many, one of another type,
// or one missing that is never left out, at each place of it.
func damaged(t *testing.T, body []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	var root any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&root); err != nil {
		t.Fatal(err)
	}
	keep := func(what string) {
		b, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		out[what] = b
	}
	var walk func(v any, at string)
	walk = func(v any, at string) {
		switch v := v.(type) {
		case map[string]any:
			v["of_tomorrow"] = 1
			keep(at + ".of_tomorrow")
			delete(v, "of_tomorrow")
			for _, name := range slices.Sorted(maps.Keys(v)) {
				had := v[name]
				walk(had, at+"."+name)
				for _, wrong := range []any{nil, 1.5, map[string]any{"x": "y"}} {
					if _, number := had.(json.Number); number && wrong == 1.5 && strings.HasPrefix(name, "loss") {
						continue
					}
					v[name] = wrong
					keep(fmt.Sprintf("%s.%s as %v", at, name, wrong))
				}
				v[name] = had
			}
		case []any:
			for i := range v {
				walk(v[i], fmt.Sprintf("%s[%d]", at, i))
			}
		}
	}
	walk(root, "answer")
	for _, name := range []string{"index", "node", "rows", "code", "message", "version", "ready", "forgotten", "void"} {
		if o := root.(map[string]any); o[name] != nil {
			had := o[name]
			delete(o, name)
			keep("without " + name)
			o[name] = had
		}
	}
	return out
}
