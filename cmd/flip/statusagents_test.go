package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// Few agents have rows like everybody; of many only those that something is to be said of.
func TestStatusCountsAgents(t *testing.T) {
	st := api.Status{Node: api.Node{ID: "a3"}, Members: []api.Member{{Name: "n1", Role: "voter", Voter: true, State: api.MemberUp}}}
	table := func() string {
		var b bytes.Buffer
		writeMembers(&b, painter(false), st)
		return b.String()
	}
	asked := func() (names string) {
		for _, m := range askable(st) {
			names += string(m.Name) + " "
		}
		return names
	}
	for i := range 12 {
		st.Members = append(st.Members, api.Member{Name: fsm.MemberID(fmt.Sprintf("a%d", i)), Role: "agent", State: api.MemberUp})
		if i == manyAgents-1 {
			if got := table(); strings.Count(got, "agent ") != manyAgents || strings.Contains(got, "more agents") {
				t.Errorf("few:\n%s", got)
			}
			if got := asked(); got != "n1 a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 " {
				t.Errorf("the doctor looks for %s", got)
			}
		}
	}
	st.Members[5].State = api.MemberDown
	st.Members[6].Voter = true
	got := table()
	for _, want := range []string{"a3 ", "a4 ", "a5 ", "agent (votes still)", "n1 ", "\nand 9 more agents that are up: `flip member list` names all\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := asked(); got != "n1 " {
		t.Errorf("of many the doctor looks for %s", got)
	}
	if strings.Contains(got, "a7") || strings.Contains(got, "?  ?\na") {
		t.Errorf("many:\n%s", got)
	}
}
