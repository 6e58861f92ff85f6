package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/flip-ha/flip/client/agent"
)

// aloneFor is for how many looks in a row, one a second, an agent has nobody to inform
// it before its log says why: to go over to another voter takes a part of that.
const aloneFor = 2

// sayAlone says in the log why no voter informs this agent, when that changes.
func (d *daemon) sayAlone(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	alone, said := 0, ""
	for {
		a, informed := d.node.informed()
		if !informed || a.Source() != "" {
			alone, said = 0, ""
		} else if alone++; alone >= aloneFor {
			if words := troubles(a.Voters()); words != said {
				said = words
				d.log.Warn().Str("why", words).Str("hint", reachVoters).Msg("no voter informs this agent")
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// troubles says what is wrong with each voter.
func troubles(voters []agent.Voter) string {
	var out []string
	for _, v := range voters {
		if v.Trouble != "" {
			out = append(out, fmt.Sprintf("%s at %s: %s", v.Name, v.Addr, v.Trouble))
		}
	}
	if len(out) == 0 {
		return "none has answered yet"
	}
	return strings.Join(out, "; ")
}
