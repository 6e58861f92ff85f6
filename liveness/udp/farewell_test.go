package udp

import (
	"net"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/liveness"
	"github.com/flip-ha/flip/secure"
)

// lend opens a socket, and gives it as what is handed over as well.
func lend(t *testing.T) (*net.UDPConn, *os.File) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	f, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	return conn, f
}

// heard reads one packet that a voter accepts.
func heard(t *testing.T, conn *net.UDPConn, box *secure.Box) (secure.Sender, packet, net.Addr) {
	t.Helper()
	buf := make([]byte, readSize)
	n, from, err := conn.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	sender, body, err := box.Open(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	p, err := decode(body)
	if err != nil {
		t.Fatal(err)
	}
	return sender, p, from
}

// A goodbye comes from the dead process's own socket, as its member and instance,
// beside what that process had sent and what its successor will send; the answer
// to it is heard, and nothing else is taken for one.
func TestFarewell(t *testing.T) {
	keys, err := secure.Derive([]byte("a key of the tests"))
	if err != nil {
		t.Fatal(err)
	}
	dead, lent := lend(t)
	voter, unused := lend(t)
	_ = unused.Close()
	process := fsm.Nonce{7}
	daemon := keys.Box(secure.Sender{Name: "n1", Instance: "i", Process: process})
	box := keys.Box(secure.Sender{Name: "n2", Instance: "j", Process: fsm.Nonce{2}})
	if _, _, err := box.Open(daemon.Seal([]byte("before"))); err != nil {
		t.Fatal(err)
	}

	host := fsm.Host{Machine: "m", Boot: "b", Instance: "i"}
	f, err := NewFarewell(FarewellConfig{Member: "n1", Host: host, Process: process, Key: keys.Handover(), Nonce: fsm.Nonce{8}, Log: zerolog.Nop()}, lent)
	if err != nil {
		t.Fatal(err)
	}
	f.Peers("c", map[fsm.MemberID]string{"n1": dead.LocalAddr().String(), "n2": voter.LocalAddr().String()})
	kept := []fsm.Key{{System: "s", Item: "x"}}
	for range 2 {
		if err := f.Say(5, kept); err != nil {
			t.Fatal(err)
		}
		sender, p, from := heard(t, voter, box)
		if sender.Name != "n1" || sender.Instance != "i" || from.String() != dead.LocalAddr().String() || p.cluster != "c" || p.to != "n2" {
			t.Errorf("from %+v at %v: %+v", sender, from, p)
		}
		want := liveness.Goodbye{Dead: true, Goodbye: fsm.Goodbye{Member: "n1", Host: host, Process: process, Epoch: 5, Kept: kept}}
		if !reflect.DeepEqual(p.msg, want) {
			t.Errorf("got %+v, want %+v", p.msg, want)
		}
	}
	for _, again := range []fsm.Nonce{process, {9}} { // the same process's late words, and a new daemon's first
		b := daemon
		if again != process {
			b = keys.Box(secure.Sender{Name: "n1", Instance: "i", Process: again})
		}
		if _, _, err := box.Open(b.Seal(nil)); err != nil {
			t.Errorf("process %v is not heard beside its guard: %v", again, err)
		}
	}

	acks := make(chan int, 8)
	ended := make(chan struct{})
	go func() {
		f.Listen(func(kept int) { acks <- kept })
		close(ended)
	}()
	answer := func(to fsm.MemberID, msg liveness.Message) {
		raw, err := encode(packet{cluster: "c", to: to, kind: kindOf(msg), msg: msg})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := voter.WriteTo(box.Seal(raw), dead.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := voter.WriteTo([]byte("not sealed"), dead.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	answer("n1", liveness.GoodbyeAck{Process: fsm.Nonce{1}, Kept: 3}) // another process's
	answer("n3", liveness.GoodbyeAck{Process: process, Kept: 4})      // not for this node
	answer("n1", liveness.Heartbeat{Epoch: 1})
	answer("n1", liveness.GoodbyeAck{Process: process, Kept: 1})
	select {
	case got := <-acks:
		if got != 1 {
			t.Errorf("acknowledged %d", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the answer is not heard")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	<-ended
}

// While the key is being rotated a goodbye goes out by both, and afterwards by the new
// one: a voter that knows only one of the two hears it, and so does one that has both.
func TestFarewellWhileTheKeyIsRotated(t *testing.T) {
	ring := secure.KeySet{Send: keys(), Also: []*secure.Keys{otherKeys()}}
	_, lent := lend(t)
	voter, unused := lend(t)
	_ = unused.Close()
	f, err := NewFarewell(FarewellConfig{Member: "n1", Key: keys().Handover(), Process: fsm.Nonce{1}, Nonce: fsm.Nonce{8}, Log: zerolog.Nop()}, lent)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	f.Peers("c", map[fsm.MemberID]string{"n2": voter.LocalAddr().String()})
	if err := f.Rekey([]byte("no key")); err == nil {
		t.Error("no key was taken")
	}
	to := secure.Sender{Name: "n2", Instance: "j", Process: fsm.Nonce{2}}
	for _, step := range []struct {
		told  secure.KeySet
		heard []*secure.Box // in this order
	}{
		{secure.KeySet{Send: keys()}, []*secure.Box{keys().Box(to)}},
		{ring, []*secure.Box{keys().Box(to), otherKeys().Box(to)}},
		{secure.KeySet{Send: otherKeys()}, []*secure.Box{otherKeys().Box(to)}},
		{ring, []*secure.Box{secure.NewRing(ring).Box(to)}},
	} {
		if err := f.Rekey(step.told.Handover()); err != nil {
			t.Fatal(err)
		}
		if err := f.Say(5, nil); err != nil {
			t.Fatal(err)
		}
		for _, box := range step.heard {
			if from, _, _ := heard(t, voter, box); from.Process != (fsm.Nonce{8}) {
				t.Errorf("from %+v", from)
			}
		}
	}
}

// A voter whose name cannot be looked up does not keep the others from hearing.
func TestFarewellWithoutAnAddress(t *testing.T) {
	keys, err := secure.Derive([]byte("a key of the tests"))
	if err != nil {
		t.Fatal(err)
	}
	_, lent := lend(t)
	voter, unused := lend(t)
	_ = unused.Close()
	f, err := NewFarewell(FarewellConfig{Member: "n1", Key: keys.Handover(), Process: fsm.Nonce{1}, Nonce: fsm.Nonce{8}, Log: zerolog.Nop()}, lent)
	if err != nil {
		t.Fatal(err)
	}
	f.Peers("c", map[fsm.MemberID]string{"n2": voter.LocalAddr().String(), "n3": "no port"})
	if err := f.Say(5, nil); err == nil {
		t.Error("nothing is said of the one that is not reached")
	}
	heard(t, voter, keys.Box(secure.Sender{Name: "n2", Instance: "j", Process: fsm.Nonce{2}}))
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := NewFarewell(FarewellConfig{Key: keys.Handover()}, nil); err == nil {
		t.Error("made without a socket")
	}
}
