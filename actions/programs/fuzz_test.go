package programs

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
)

// FuzzClaim has a program say anything of what it has, to a daemon that found it in the
// register and to one that did not, and acknowledge anything. Whatever it says, it is
// told to let go of all that it is not known to have, once.
func FuzzClaim(f *testing.F) {
	f.Add([]byte(`{"Read":9,"Items":[{"ID":"a","Token":5,"Given":1,"Taken":true},{"ID":"x","Given":2}]}`), []byte(`{"Seqs":[1,10],"Gone":[{"ID":"a","Given":1}]}`), true)
	f.Add([]byte(`{"Read":3,"Items":[{"ID":"a","Told":3},{"ID":"a","Given":3},{"ID":"a","Taken":true}]}`), []byte(`{"Seqs":[3,3],"Leave":true}`), false)
	f.Fuzz(func(t *testing.T, claimed, acked []byte, known bool) {
		var c Claim
		var a Ack
		if json.Unmarshal(claimed, &c) != nil || json.Unmarshal(acked, &a) != nil {
			return
		}
		c.System, c.Session, a.Session = "s", "one", "one"
		d := New(Config{Self: "n1", Lease: func() (time.Duration, bool) { return time.Second, true }, Log: zerolog.Nop()})
		p := newProcess(7)
		if known {
			d.Inherit([]Former{{Entry{System: "s", Session: "one", ProcessID: p.id}, p}}, []fsm.Job{jobOf("a", 5)}, nil)
		}
		for range 2 {
			s, err := d.Claim(p, c)
			if err != nil {
				return // it has left
			}
			told := map[uint64]bool{}
			for {
				events, err := s.take()
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range events {
					if e.Kind == Acquire {
						t.Errorf("it is told to take %v", e.Key)
					}
					if e.Kind != Session && (told[e.Seq] || e.Seq <= c.Read) {
						t.Errorf("number %d is used again", e.Seq)
					}
					told[e.Seq] = true
				}
				if len(events) == 0 {
					break
				}
			}
			if _, err := d.Ack(p.id, a); err != nil && !a.Leave {
				t.Error(err)
			}
		}
	})
}
