package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/client/agent"
	"github.com/flip-ha/flip/raftnode"
)

// aloneFor is for how many looks in a row, one a second, an agent has nobody to inform
// it before its log says why: to go over to another voter takes a part of that.
const aloneFor = 2

// sayAlone says in the log why no voter informs this agent, or what it waits for
// although one does, when that changes.
func (d *daemon) sayAlone(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	alone, said := 0, ""
	for {
		words, hint := d.alone()
		if alone++; words == "" {
			alone, said = 0, ""
		} else if alone >= aloneFor && words != said {
			said = words
			d.log.Warn().Str("hint", hint).Msg(words)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// alone is why this agent takes no part; "": it does, or is none.
func (d *daemon) alone() (words, hint string) {
	a, informed := d.node.informed()
	if !informed {
		return "", ""
	}
	p := agentPhase(a, d.self.Name)
	switch {
	case a.Source() == "":
		return "no voter informs this agent: " + troubles(a.Voters()), p.Hint
	case p.Stage == raftnode.StageJoining:
		return p.Words, p.Hint
	default:
		return "", ""
	}
}

// troubles says what is wrong with each voter.
func troubles(voters []agent.Voter) string {
	var out []string
	for _, v := range voters {
		if v.Trouble != "" {
			out = append(out, fmt.Sprintf("%s at %s %s", v.Name, v.Addr, v.Trouble))
		}
	}
	if len(out) == 0 {
		return "none has answered yet"
	}
	return strings.Join(out, "; ")
}

// inWords are Peers whose failures a person can read.
type inWords struct{ agent.Peers }

// Part implements agent.Peers.
func (p inWords) Part(ctx context.Context, to client.Target, req api.PartRequest) (agent.Stream, error) {
	s, err := p.Peers.Part(ctx, to, req)
	if err != nil {
		return nil, &worded{unjoined(err), err}
	}
	return s, nil
}

// worded is an error in other words.
type worded struct {
	words string
	error
}

func (e *worded) Error() string { return e.words }

func (e *worded) Unwrap() error { return e.error }
