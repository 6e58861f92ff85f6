package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/e2e/mono"
)

// TestStoresAreJudged is the control: a history with two primaries, one with an event
// too many, and an answer that comes too late are found.
func TestStoresAreJudged(t *testing.T) {
	good := map[string]string{"n1": "1 B 7\n2 A 5 0 10\n4 R 5 0 10 home\n", "n2": "1 B 8\n5 A 5 0 11\n"}
	for what, change := range map[string]func(map[string]string, *[]answer){
		"":                  func(map[string]string, *[]answer) {},
		"two at a time":     func(h map[string]string, _ *[]answer) { h["n2"] = "1 B 8\n3 A 5 0 11\n" },
		"two ranks":         func(h map[string]string, _ *[]answer) { h["n2"] += "6 A 5 1 12\n" },
		"told twice":        func(h map[string]string, _ *[]answer) { h["n2"] += "6 A 5 0 11\n" },
		"released unasked":  func(h map[string]string, _ *[]answer) { h["n2"] += "6 R 9 0 11\n" },
		"a token goes back": func(h map[string]string, _ *[]answer) { h["n2"] = "1 B 8\n5 A 5 0 9\n" },
		"answered late": func(_ map[string]string, a *[]answer) {
			*a = append(*a, answer{"n2", "5", 11, 5, 6}, answer{"n1", "5", 10, 7, 8})
		},
	} {
		h, answers := maps.Clone(good), []answer{}
		change(h, &answers)
		wrong, _ := judgeStores(h, nil, answers)
		if (len(wrong) > 0) != (what != "") {
			t.Errorf("%s: %q", what, wrong)
		}
	}
}

// judge holds what the stores have written down against what may be.
func (s *stores) judge(answers []answer) {
	s.t.Helper()
	histories := map[string]string{}
	for _, id := range s.ids {
		data, err := os.ReadFile(filepath.Join(s.dir, id+".history"))
		if err != nil {
			s.t.Fatal(err)
		}
		histories[id] = string(data)
	}
	wrong, now := judgeStores(histories, s.ends, answers)
	for _, w := range wrong[:min(len(wrong), 20)] {
		s.t.Error(w)
	}
	// None was lost: what the stores have is what the cluster says.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cl := client.New(filepath.Join(s.dir, "d", "n1.sock"))
	defer cl.Close()
	as, err := cl.Assign(ctx, "kv", true)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range as.Rows {
		k := fmt.Sprintf("%s %s/%d@%d", r.Owner, r.Item, r.Rank, r.Token)
		if !now[k] {
			s.t.Errorf("the cluster says %s, the store does not", k)
		}
		delete(now, k)
	}
	for k := range now {
		s.t.Errorf("a store has %s, and the cluster does not say so", k)
	}
	s.t.Logf("%d answers of primaries", len(answers))
}

// span is one time for which a store had a slot.
type span struct {
	by       string
	token    uint64
	from, to mono.Time
}

const forEver = mono.Time(1<<63 - 1)

// judgeStores finds what is wrong in the histories, and what each store has at the end.
func judgeStores(histories map[string]string, ends map[string][]ended, answers []answer) (wrong []string, now map[string]bool) {
	spans := map[string][]span{} // by item and rank
	now = map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(histories)) {
		has := map[string]span{}
		end := func(at mono.Time) {
			for k, had := range has {
				had.to = at
				spans[k] = append(spans[k], had)
			}
			clear(has)
		}
		pid := 0
		for line := range strings.Lines(histories[id]) {
			at, f := words(line)
			switch f[0] {
			case "B": // another process: what the former had ended with it
				for _, e := range ends[id] {
					if e.pid == pid {
						end(e.at)
					}
				}
				end(at)
				pid, _ = strconv.Atoi(f[1])
				continue
			case "L":
				end(at)
				continue
			case "E":
				continue
			}
			k := f[1] + "/" + f[2]
			token, _ := strconv.ParseUint(f[3], 10, 64)
			had, holds := has[k]
			if holds == (f[0] == "A") {
				wrong = append(wrong, fmt.Sprintf("%s is told %s", id, strings.TrimSpace(line)))
			}
			switch f[0] {
			case "A":
				for rank := range replicas {
					if _, other := has[fmt.Sprintf("%s/%d", f[1], rank)]; other {
						wrong = append(wrong, fmt.Sprintf("%s has two ranks: %s", id, strings.TrimSpace(line)))
					}
				}
				has[k] = span{id, token, at, forEver}
			case "R":
				had.to = at
				spans[k] = append(spans[k], had)
				delete(has, k)
			case "T":
				had.to = at
				spans[k] = append(spans[k], had)
				has[k] = span{id, token, at, forEver}
			}
		}
		for k, had := range has {
			now[fmt.Sprintf("%s %s@%d", id, k, had.token)] = true
		}
		end(forEver)
	}
	for k, all := range spans {
		slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.from, b.from) })
		for i := 1; i < len(all); i++ {
			if a, b := all[i-1], all[i]; a.to > b.from || a.token > b.token || a.token == b.token && a.by != b.by {
				wrong = append(wrong, fmt.Sprintf("%s: %+v, then %+v", k, a, b))
			}
		}
	}
	return append(wrong, judgeAnswers(answers)...), now
}

// judgeAnswers finds answers under a token when one under a newer token had been given
// before they were asked for.
func judgeAnswers(answers []answer) (wrong []string) {
	slices.SortFunc(answers, func(a, b answer) int { return cmp.Compare(a.from, b.from) })
	newest := map[string][]answer{} // by item, in the order of their ends
	for _, a := range answers {
		for _, b := range newest[a.item] {
			if b.to < a.from && (b.token > a.token || b.token == a.token && b.name != a.name) {
				wrong = append(wrong, fmt.Sprintf("%+v after %+v", a, b))
			}
		}
		if n := newest[a.item]; len(n) == 0 || n[len(n)-1].token != a.token || n[len(n)-1].name != a.name {
			newest[a.item] = append(n, a)
		}
	}
	return wrong
}
