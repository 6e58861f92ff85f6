package secure

import (
	"errors"
	"testing"

	"github.com/flip-ha/flip/fsm"
)

// Who speaks for a process has its name and is heard beside it; it cannot do more
// than seal datagrams.
func TestHandover(t *testing.T) {
	keys, err := Derive([]byte("some key"))
	if err != nil {
		t.Fatal(err)
	}
	self := Sender{Name: "a", Instance: "i", Process: fsm.Nonce{1}}
	daemon := keys.Box(self)
	self.Process = fsm.Nonce{2}
	guard, err := BoxOf(keys.Handover(), self)
	if err != nil {
		t.Fatal(err)
	}
	voter := keys.Box(Sender{Name: "b", Instance: "j", Process: fsm.Nonce{3}})
	for i, b := range []*Box{daemon, guard, daemon, guard} {
		from, body, err := voter.Open(b.Seal([]byte{byte(i)}))
		if err != nil || from.Name != "a" || from.Instance != "i" || body[0] != byte(i) {
			t.Errorf("datagram %d: %v from %+v, %v", i, body, from, err)
		}
	}
	if _, _, err := guard.Open(daemon.Seal(nil)); err != nil {
		t.Errorf("the other way: %v", err)
	}
	once := guard.Seal(nil)
	twice := append([]byte{}, once...)
	if _, _, err := voter.Open(once); err != nil {
		t.Error(err)
	}
	if _, _, err := voter.Open(twice); !errors.Is(err, ErrReplay) {
		t.Errorf("played back: %v", err)
	}
	for _, bad := range [][]byte{nil, make([]byte, 31), make([]byte, 32)} {
		if _, err := BoxOf(bad, self); err == nil {
			t.Errorf("a key of %d bytes was taken", len(bad))
		}
	}
}
