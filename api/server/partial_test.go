package server

import (
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// What an agent knows is no ground for an alarm about what it does not know.
func TestStatusOfAPart(t *testing.T) {
	w := running(t)
	sp := *w.s.Spec()
	next := sp.WithServer(fsm.Server{Name: "a1", Addr: "127.0.0.1:2209", Role: fsm.RoleAgent, Systems: []fsm.SystemID{"ip", "log", "one"}})
	w.do(fsm.SetSpec{Was: sp.Version, Spec: next})
	w.register("a1")
	w.move("ip", "b", "a1")
	w.move("one", "x", "a1")
	part, err := fsm.New().WithPart(w.s.Part("a1", w.at))
	if err != nil {
		t.Fatal(err)
	}
	l := Local{Node: api.Node{ID: "a1", Ready: true, Epoch: 9, Lease: api.Lease{Running: true}}, Leader: "n1", LeaderAddr: "x", Partial: true}
	st := Compose(l, part, w.at)
	for _, m := range st.Members {
		_, told := part.Member(m.Name)
		if told != (m.State == api.MemberUp) || !told && m.State != api.MemberUnknown {
			t.Errorf("%s is %q", m.Name, m.State)
		}
	}
	if !st.Partial || !st.Cluster.Failover.Possible {
		t.Errorf("%+v", st.Cluster.Failover)
	}
	for _, sys := range st.Systems {
		if sys.Name == "ip" && (sys.Items != 1 || sys.Owned != 1 || sys.Unheld != 0) || sys.Name == "log" && sys.Items != 0 {
			t.Errorf("%+v", sys)
		}
	}
	for _, a := range st.Alarms {
		if !strings.Contains(a.What, "one/x") { // its former owner has it still
			t.Errorf("%+v", a)
		}
	}
	// The same, taken for the whole.
	l.Partial = false
	if st := Compose(l, part, w.at); st.Cluster.Failover.Possible || len(st.Alarms) < 3 {
		t.Errorf("taken for the whole it is as good: %+v", st.Alarms)
	}
}
