package main

import (
	"testing"

	"github.com/flip-ha/flip/client/agent"
)

func TestTroublesOfVoters(t *testing.T) {
	for _, tt := range []struct {
		voters []agent.Voter
		want   string
	}{
		{nil, "none has answered yet"},
		{[]agent.Voter{{Name: "n1", Addr: "1"}}, "none has answered yet"},
		{
			[]agent.Voter{{Name: "n1", Addr: "1", Trouble: "does not answer"}, {Name: "n2", Addr: "2"}, {Name: "n3", Addr: "3", Trouble: "has another key"}},
			"n1 at 1 does not answer; n3 at 3 has another key",
		},
	} {
		if got := troubles(tt.voters); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.voters, got, tt.want)
		}
	}
}
