package agent

import (
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// What does not follow from the frame before ends the stream.
func TestReadingRefuses(t *testing.T) {
	s, at := fsm.New(), fsm.Index(0)
	do := func(cmd fsm.Command) (*fsm.State, fsm.Index) {
		at++
		next, res, err := s.Apply(at, fsm.Encode(cmd))
		if err != nil || !res.Applied {
			t.Fatal(res.Why, err)
		}
		was, since := s, at-1
		s = next
		return was, since
	}
	do(fsm.SetSpec{Cluster: "c1", Spec: specOf(3, 2)})
	whole := api.PartFrame{Index: at, Part: s.Part("a1", at).Encode()}
	k := fsm.Key{System: "ip", Item: "a"}
	do(fsm.Register{Member: "a1", Nonce: fsm.Nonce{1}, Process: fsm.Nonce{1}, Host: fsm.Host{Machine: "m"}, Wire: [2]uint16{1, 1}})
	was, since := do(fsm.Assign{Moves: []fsm.Move{{Key: k, To: "a1"}}})
	part, changed := s.PartSince("a1", at, was, since)
	if !changed {
		t.Fatal("nothing changed")
	}
	change := api.PartFrame{Index: at, Part: part.Encode()}
	less := s.Part("a1", at)
	api.LeaveOut(&less)
	if len(less.Systems) != 0 {
		t.Fatalf("left in: %+v", less.Systems)
	}
	kept := api.PartFrame{Index: at, Part: less.Encode(), Kept: true}
	old := *s.Spec()
	old.Version = 9
	other := s.Part("a1", at)
	other.Head.Cluster = "c2"
	for _, tt := range []struct {
		name   string
		have   fsm.Index
		spec   *fsm.Spec
		frames []api.PartFrame
		want   string
	}{
		{"whole", 0, nil, []api.PartFrame{whole}, ""},
		{"whole, and a mark", 1, nil, []api.PartFrame{whole, {Index: 9}}, ""},
		{"the configuration is known", 0, s.Spec(), []api.PartFrame{kept}, ""},
		{"it was told in this stream", 0, nil, []api.PartFrame{whole, kept}, ""},
		{"another one is known", 0, &old, []api.PartFrame{kept}, "left out"},
		{"none is known", 0, nil, []api.PartFrame{kept}, "left out"},
		{"less than it has", 2, nil, []api.PartFrame{whole}, "has read less of the log"},
		{"backwards", 0, nil, []api.PartFrame{whole, {Index: 9}, {Index: 8}}, "has read less of the log"},
		{"whole again, backwards", 0, nil, []api.PartFrame{whole, {Index: 9}, whole}, "has read less of the log"},
		{"begins with a mark", 0, nil, []api.PartFrame{{Index: 9}}, "does not begin with"},
		{"begins with a change", 0, nil, []api.PartFrame{change}, "take in"},
		{"a gap", 0, nil, []api.PartFrame{whole, change}, "take in"},
		{"garbage", 0, nil, []api.PartFrame{{Index: 9, Part: []byte("x")}}, "decode"},
		{"under another index", 0, nil, []api.PartFrame{{Index: 9, Part: whole.Part}}, "a part of index 1 came as one of 9"},
		{"of another cluster", 0, nil, []api.PartFrame{whole, {Index: at, Part: other.Encode()}}, "of cluster c2"},
	} {
		r := reading{have: tt.have, spec: tt.spec}
		var err error
		for _, f := range tt.frames {
			if err = r.take(f); err != nil {
				break
			}
		}
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err == nil && len(r.state.Spec().Systems["ip"].Items) != 3 {
			t.Errorf("%s: reads %+v", tt.name, r.state.Spec().Systems)
		}
	}
}
