package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// writeAddresses adds what this node's kernel does for the addresses that flip
// plumbs: the gate, then the addresses themselves.
func writeAddresses(t *table, n api.Node) {
	switch n.Gate.State {
	case "", api.GateNotNeeded:
	case api.GateNone:
		t.add(yellow, "gate", "none: "+or(n.Gate.Why, "it is not known why"))
	default:
		t.add(plain, "gate", gateWords(n.Gate))
	}
	if len(n.Addresses) > 0 {
		colour := plain
		if slices.ContainsFunc(n.Addresses, func(a api.Address) bool { return a.Stranger != "" }) {
			colour = red
		}
		t.add(colour, "plumbed", plumbedWords(n.Addresses))
	}
}

// gateWords is "open, nobody but flip can alter it; 12 addresses; renewed in 24 µs,
// at worst in 3 ms; 2 renewals came too late".
func gateWords(g api.Gate) string {
	state := g.State
	if g.Why != "" {
		state += " (" + g.Why + ")"
	}
	words := []string{state + ", " + api.Protect(g.Owned), count(g.Addrs, "address", "addresses")}
	if g.RenewalUS > 0 {
		renewed := "renewed in " + brief(g.RenewalUS)
		if g.WorstUS > 0 {
			renewed += ", at worst in " + brief(g.WorstUS)
		}
		words = append(words, renewed)
	}
	if g.Refused > 0 {
		words = append(words, count(int(g.Refused), "renewal", "renewals")+" came too late, and the kernel opened nothing")
	}
	return strings.Join(words, "; ")
}

// writeGuard adds who releases what the daemon holds if the daemon cannot.
func writeGuard(t *table, g api.Guard) {
	switch g.State {
	case api.GuardRunning:
		words := fmt.Sprintf("stands by, pid %d", g.PID)
		if g.Restarts > 0 {
			words += fmt.Sprintf(", replaced %s", count(g.Restarts, "time", "times"))
		}
		t.add(plain, "guard", words)
	case api.GuardNone:
		t.add(yellow, "guard", "none: "+or(g.Why, "it is not known why"))
	}
}

// plumbedWords is "3 addresses on eth0, 1 on eth1; 40 hosts told, 12 rounds
// announced, 1 repair".
func plumbedWords(list []api.Address) string {
	on := map[string]int{}
	told, announced, repairs := 0, 0, 0
	var strangers []string
	for _, a := range list {
		on[a.Interface] += len(a.Addresses)
		told, announced, repairs = told+a.Told, announced+a.Announced, repairs+a.Repairs
		if a.Stranger != "" {
			strangers = append(strangers, fmt.Sprintf("%s/%s: %s", a.System, a.Item, a.Stranger))
		}
	}
	var where []string
	for i, name := range slices.Sorted(maps.Keys(on)) {
		number := strconv.Itoa(on[name])
		if i == 0 {
			number = count(on[name], "address", "addresses")
		}
		where = append(where, number+" on "+or(name, "no interface"))
	}
	did := []string{count(told, "host", "hosts") + " told", count(announced, "round", "rounds") + " announced"}
	if repairs > 0 {
		did = append(did, count(repairs, "repair", "repairs"))
	}
	text := strings.Join(where, ", ") + "; " + strings.Join(did, ", ")
	if n := len(strangers); n > 0 {
		const most = 3
		text += "; strangers answer: " + strings.Join(strangers[:min(n, most)], "; ")
		if n > most {
			text += fmt.Sprintf(" and %d more", n-most)
		}
	}
	return text
}

// brief is a number of microseconds as a person says it.
func brief(us int64) string {
	if us < 1000 {
		return fmt.Sprintf("%d µs", us)
	}
	return spoken(us / 1000)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// gateOfMember says whether a member's kernel ends at-most-one addresses by
// itself; "-" for one that serves none.
func gateOfMember(st api.Status, m api.Member) string {
	serves := slices.ContainsFunc(st.Systems, func(s api.System) bool {
		return s.Action == fsm.ActionIP.String() && s.Guarantee == fsm.AtMostOne.String() && slices.Contains(s.Servers, m.Name)
	})
	switch {
	case !serves || m.Epoch == 0:
		return "-"
	case m.Gate:
		return "yes"
	default:
		return "no"
	}
}
