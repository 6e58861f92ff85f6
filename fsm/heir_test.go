package fsm

import "testing"

func TestHasHeir(t *testing.T) {
	d := founded(t, func(s *Spec) {
		server := s.Servers["c"]
		server.Systems = []SystemID{"least"}
		s.Servers["c"] = server
	})
	want := func(has bool, why string) {
		t.Helper()
		part, err := New().WithPart(d.s.Part("a", d.at))
		if err != nil {
			t.Fatal(err)
		}
		for what, s := range map[string]*State{"the whole": d.s, "a part": part} {
			if s.HasHeir("a", "one") != has {
				t.Errorf("by %s: %s", what, why)
			}
			if !s.HasHeir("a", "least") {
				t.Errorf("by %s: c could take it", what)
			}
		}
		if part.HasHeir("b", "least") {
			t.Error("a's part knows something of b")
		}
	}
	want(true, "b could take it")
	d.must(Leave{Member: "b", Epoch: d.epoch("b")})
	want(false, "b is leaving, c does not serve it")
	d.must(d.moved("b"))
	want(true, "b is back")
	d.down("b")
	want(false, "b is down")
}
