package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The hooks' names in the README's sample.
const (
	hookUp   = "ip_up"
	hookDown = "ip_down"
)

// traceLine is one run of a hook, as the hook itself wrote it at its end.
type traceLine struct {
	at    int64 // Unix nanoseconds
	node  string
	verb  string // hookUp or hookDown
	item  string
	token uint64
}

// parseTrace reads "nanoseconds node verb item pid token" lines. What stands
// behind the last newline is still being written, and left for the next look.
func parseTrace(data string) ([]traceLine, error) {
	var out []traceLine
	for n, line := range strings.Split(data, "\n") {
		if n == strings.Count(data, "\n") {
			break
		}
		f := strings.Fields(line)
		if len(f) != 6 || f[2] != hookUp && f[2] != hookDown {
			return nil, fmt.Errorf("read trace: line %d is not a hook's: %q", n+1, line)
		}
		at, errAt := strconv.ParseInt(f[0], 10, 64)
		_, errPID := strconv.Atoi(f[4]) // of the flip process that started it
		token, errToken := strconv.ParseUint(f[5], 10, 64)
		if errAt != nil || errPID != nil || errToken != nil {
			return nil, fmt.Errorf("read trace: line %d has no good number: %q", n+1, line)
		}
		out = append(out, traceLine{at: at, node: f[1], verb: f[2], item: f[3], token: token})
	}
	return out, nil
}

// holdings is who holds what for all that the hooks wrote, of the nodes that run.
// What a hook has done outlives the process that started it: the node's next one
// may go on holding it without a hook.
func holdings(lines []traceLine, runs map[string]bool) map[string][]string {
	held := map[string]map[string]bool{}
	for _, l := range lines {
		if !runs[l.node] {
			continue
		}
		if held[l.node] == nil {
			held[l.node] = map[string]bool{}
		}
		if l.verb == hookUp {
			held[l.node][l.item] = true
		} else {
			delete(held[l.node], l.item)
		}
	}
	out := map[string][]string{}
	for node, items := range held {
		out[node] = slices.Sorted(maps.Keys(items))
	}
	return out
}

// takeover is the first time after `since` that another node than `from`
// brought the item up.
func takeover(lines []traceLine, item, from string, since int64) (traceLine, bool) {
	for _, l := range lines {
		if l.verb == hookUp && l.item == item && l.node != from && l.at >= since {
			return l, true
		}
	}
	return traceLine{}, false
}
