package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/flip-ha/flip/fsm"
)

// placeValues are values for each key of the placement; what of them cannot stand together
// is for Parse to find.
var placeValues = map[string][]string{
	"type":          {`"shard"`, `"shard"`, `"shard"`, `"choose_one"`, `"replicate"`, `"nothing"`},
	"action":        {`"hooks"`, `"hooks"`, `"client"`, `"ip"`},
	"guarantee":     {`"at-most-one"`, `"at-least-one"`},
	"replicas":      {`1`, `2`, `64`, `65`, `0`},
	"partitions":    {`{"count": 1}`, `{"count": 30, "hash": "fnv32a"}`, `{"count": 0}`, `{}`},
	"select":        {`{"disk": "ssd"}`, `{"disk": ["ssd", "hdd"]}`, `{"gpu": "yes", "disk": "*"}`, `{"tape": "*"}`},
	"match":         {`"all"`, `"any"`},
	"with":          {`"s0"`, `["s1"]`, `["s0", "s2"]`, `[]`, `"s9"`},
	"apart":         {`"s2"`, `["s1", "s0"]`, `"s1"`},
	"failback":      {`"auto"`, `"manual"`, `"30s"`, `0`, `5000`, `"never"`},
	"nopreempt":     {`true`, `false`},
	"mature":        {`0`, `"1m"`, `-1`},
	"preempt_delay": {`300`, `"5m"`},
	"round":         {`{"moves": 1}`, `{"moves": 9, "every": 50}`, `{"every": 50}`},
	"brake":         {`"on"`, `"off"`},
	"on_timeout":    {`"keep"`, `"kill"`},
	"data": {
		`["x"]`, `[]`, `["x", {"id": "y", "weight": 3}]`, `[{"id": "x", "prefer": ["n1", "n0"], "weight": 1}]`,
		`[{"id": "y", "prefer": "n2"}, "z"]`,
	},
}

// drawPlaced is a file with three systems, each with some keys of the placement.
func drawPlaced(rt *rapid.T) string {
	var servers, systems []string
	for i := range 3 {
		tags := rapid.SampledFrom([]string{`{"disk": "ssd"}`, `{"disk": "hdd", "gpu": "yes"}`}).Draw(rt, "tags")
		list := rapid.SampledFrom([]string{`["s0", "s1", "s2"]`, `["s0", "s1", "s2"]`, `["s0", "s2"]`}).Draw(rt, "systems")
		servers = append(servers, fmt.Sprintf(`"n%d": {"ip": "10.0.0.1", "port": %d, "systems": %s, "tags": %s, "weight": %d, "capacity": %d}`,
			i, i+1, list, tags, rapid.IntRange(1, 3).Draw(rt, "weight"), rapid.IntRange(1, 40).Draw(rt, "capacity")))
	}
	for i := range 3 {
		keys := map[string]string{"type": rapid.SampledFrom(placeValues["type"]).Draw(rt, "type"), "data": `["x", "y"]`}
		for range rapid.IntRange(0, 3).Draw(rt, "keys") {
			key := rapid.SampledFrom(sortedNames(placeValues)).Draw(rt, "key")
			keys[key] = rapid.SampledFrom(placeValues[key]).Draw(rt, "value")
		}
		if keys["action"] == "" || keys["action"] == `"hooks"` {
			keys["alive"], keys["down"] = `"up"`, `"down"`
		}
		switch {
		case keys["partitions"] != "":
			delete(keys, "data")
		case keys["action"] == `"ip"`:
			keys["data"] = fmt.Sprintf(`["10.9.%d.1/24", {"id": "v", "addresses": ["10.9.%d.2"], "prefer": "n%d"}]`, i, i, i)
		}
		var members []string
		for _, key := range sortedNames(keys) {
			members = append(members, fmt.Sprintf("%q: %s", key, keys[key]))
		}
		systems = append(systems, fmt.Sprintf(`"s%d": {%s}`, i, strings.Join(members, ", ")))
	}
	return fmt.Sprintf(`{"id": "n0", "key_file": "k", "servers": {%s}, "cluster": {"system": {%s}}}`, strings.Join(servers, ",\n"), strings.Join(systems, ",\n"))
}

func sortedNames[V any](m map[string]V) []string { return union(m, nil) }

// TestPlacedFilesAreTaken: what Parse lets pass the State takes, with all that it says of
// the placement, and what a change of it says is nothing if nothing has changed.
func TestPlacedFilesAreTaken(t *testing.T) {
	taken, refused, said := 0, 0, map[string]bool{}
	one := func(rt *rapid.T) {
		text := drawPlaced(rt)
		if !json.Valid([]byte(text)) {
			rt.Fatal(text)
		}
		file, err := Parse("f", []byte(text), Overrides{})
		sound(rt, []byte(text), file, err)
		if err != nil {
			refused++
			return
		}
		taken++
		for _, s := range file.Spec.Systems {
			for what, is := range map[string]bool{
				"replicas": s.Replicas > 1, "partitions": s.Partitions != nil, "select": len(s.Select) > 0, "with": len(s.With) > 0, "apart": len(s.Apart) > 0,
				"manual": s.Split == fsm.Shard && s.Failback == fsm.NeverFailback, "client": s.Action == fsm.ActionClient, "ip": s.Action == fsm.ActionIP,
			} {
				said[what] = said[what] || is
			}
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		for range 20 { // so that each kind of file is among them
			one(rt)
		}
	})
	if taken == 0 || refused == 0 || len(said) == 0 {
		t.Errorf("%d taken, %d refused", taken, refused)
	}
	for what, was := range said {
		if !was {
			t.Errorf("no file that was taken had %s", what)
		}
	}
}

// TestPartitionsAreNumbers: a key's item is there whatever the key.
func TestPartitionsAreNumbers(t *testing.T) {
	for _, hash := range []string{"fnv64a", "fnv32a"} {
		text := fmt.Sprintf(`{"id": "a", "key_file": "k", "servers": {"a": {"ip": "10.0.0.1", "port": 1, "systems": ["s"]}},
			"cluster": {"system": {"s": {"type": "shard", "action": "client", "partitions": {"count": 113, "hash": %q}}}}}`, hash)
		file, err := Parse("f", []byte(text), Overrides{})
		if err != nil {
			t.Fatal(err)
		}
		s := file.Spec.Systems["s"]
		there := map[fsm.ItemID]bool{}
		for _, item := range s.Items {
			there[item.ID] = true
		}
		used := map[fsm.ItemID]bool{}
		for i := range 5000 {
			item := s.Partitions.Item(fmt.Sprint("key ", i))
			if used[item] = true; !there[item] {
				t.Fatalf("%s: no item %q", hash, item)
			}
		}
		if len(used) != 113 || s.Partitions.Hash.String() != hash {
			t.Errorf("%s: %d of 113 partitions used, hash %s", hash, len(used), s.Partitions.Hash)
		}
	}
}
