package server

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// TestShareOfANewMember: what a file says of a server can be said when one is added, and
// is judged alike.
func TestShareOfANewMember(t *testing.T) {
	arbiter := func(name fsm.MemberID, addr string) fsm.Server {
		return fsm.Server{Name: name, Addr: addr, Role: fsm.RoleArbiter}
	}
	said := arbiter("n4", "127.0.0.1:2204")
	said.Weight, said.Capacity, said.Zone = 2, 9, "rack b"
	said.Tags = []fsm.Tag{{Name: "disk", Value: "ssd"}, {Name: "gpu", Value: "yes"}}
	for _, tt := range []struct {
		body string
		want fsm.Server
		says string // of who is refused
	}{
		{`"n4","addr":"127.0.0.1:2204","weight":2,"capacity":9,"zone":"rack b","tags":{"gpu":"yes","disk":"ssd"}`, said, ""},
		{`"n3","addr":"127.0.0.1:2203","weight":1`, arbiter("n3", "127.0.0.1:2203"), ""}, // 1 says nothing
		{`"n3","addr":"127.0.0.1:2203","zone":"b"`, fsm.Server{}, "n3 is a member already"},
		{`"n4","addr":"10.0.0.4:2204","weight":-1`, fsm.Server{}, "the weight cannot be -1"},
		{`"n4","addr":"10.0.0.4:2204","weight":1000001`, fsm.Server{}, "the weight cannot be 1000001"},
		{`"n4","addr":"10.0.0.4:2204","capacity":1000000001`, fsm.Server{}, "the capacity cannot be 1000000001"},
		{`"n4","addr":"10.0.0.4:2204","zone":"a\nb"`, fsm.Server{}, "the zone cannot be"},
		{`"n4","addr":"10.0.0.4:2204","tags":{"a b":"c"}`, fsm.Server{}, "a tag cannot be called"},
		{`"n4","addr":"10.0.0.4:2204","tags":{"a":"*"}`, fsm.Server{}, "the value of tag a cannot be"},
	} {
		w := &writable{world: running(t)}
		var out api.MemberChanged
		_, e := w.post(api.PathMemberAdd, `{"role":"arbiter","name":`+tt.body+`}`, &out)
		if (e.Code == api.CodeRefused) != (tt.says != "") || !strings.Contains(e.Message, tt.says) || tt.says != "" && e.Hint == "" {
			t.Errorf("%s: %+v", tt.body, e)
		}
		if tt.says != "" {
			continue
		}
		got := w.s.Spec().Servers[tt.want.Name]
		got.Systems = nil
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v", tt.body, got)
		}
		m := out.Member
		if m.Weight != tt.want.Share() || m.Capacity != tt.want.Capacity || m.Zone != tt.want.Zone || !reflect.DeepEqual(m.Tags, tagsOf(tt.want)) {
			t.Errorf("%s: answered %+v", tt.body, m)
		}
	}
}

// picky is a cluster in which system ip wants fast disks and two copies of each item;
// n1 and n2 have them, in two zones.
func picky(t *testing.T) *writable {
	w := &writable{world: running(t)}
	next := clone(w.s.Spec())
	for name, zone := range map[fsm.MemberID]string{"n1": "a", "n2": "b"} {
		server := next.Servers[name]
		server.Zone, server.Tags = zone, []fsm.Tag{{Name: "disk", Value: "ssd"}}
		next.Servers[name] = server
	}
	next.Systems = map[fsm.SystemID]fsm.System{}
	for id, sys := range w.s.Spec().Systems {
		if id == "ip" {
			sys.Select, sys.Replicas = []fsm.Match{{Tag: "disk", Values: []string{"ssd"}}}, 3
		}
		next.Systems[id] = sys
	}
	w.do(fsm.SetSpec{Was: w.s.Spec().Version, Spec: *next})
	return w
}

func TestANewMemberThatDoesNotFit(t *testing.T) {
	const unfit, nowhere = "system ip selects servers by tags that n4 has not: it will hold nothing of it", "n4 has no zone, n1 is in zone a: servers without one count as a zone of their own"
	for _, tt := range []struct {
		body string
		want []string
	}{
		{`"tags":{"disk":"hdd"}`, []string{unfit, nowhere}},
		{`"zone":"c"`, []string{unfit}},
		{`"zone":"c","tags":{"disk":"ssd"}`, nil},
		{`"systems":["one"],"zone":"c"`, nil},
		{`"role":"arbiter"`, nil},
	} {
		var out api.MemberChanged
		if _, e := picky(t).post(api.PathMemberAdd, `{"name":"n4","addr":"127.0.0.1:2204",`+tt.body+`}`, &out); e.Code != "" {
			t.Errorf("%s: %+v", tt.body, e)
		}
		for _, warning := range []string{unfit, nowhere} {
			if slices.Contains(out.Warnings, warning) != slices.Contains(tt.want, warning) {
				t.Errorf("%s: %q", tt.body, out.Warnings)
			}
		}
	}
}

func TestARemovalThatOthersCannotMakeGood(t *testing.T) {
	w := picky(t)
	var out api.MemberChanged
	for _, body := range []string{`"n4","addr":"127.0.0.1:2204","tags":{"disk":"ssd"}`, `"n5","addr":"127.0.0.1:2205","tags":{"disk":"hdd"}`} {
		if _, e := w.post(api.PathMemberAdd, `{"name":`+body+`}`, &out); e.Code != "" {
			t.Fatal(e)
		}
	}
	for _, tt := range []struct{ name, want string }{
		{"n5", ""}, // it held nothing of ip
		{"n4", "2 members will serve system ip: too few for 3 replicas of each item"},
		{"n1", "one member will serve system ip: it cannot fail over"},
	} {
		out = api.MemberChanged{}
		if _, e := w.post(api.PathMemberRemove, `{"name":"`+tt.name+`"}`, &out); e.Code != "" {
			t.Fatalf("%s: %+v", tt.name, e)
		}
		var said []string
		for _, warning := range out.Warnings {
			if strings.Contains(warning, "system ip") {
				said = append(said, warning)
			}
		}
		if strings.Join(said, "|") != tt.want {
			t.Errorf("%s: %q", tt.name, out.Warnings)
		}
	}
}
