package room

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever comes to a full room takes the place of the one that has been quiet for
// longest, if that is long enough.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(2, time.Minute)
		enter := func() (in *Conn, other net.Conn) {
			here, there := net.Pipe()
			t.Cleanup(func() { _ = there.Close() })
			return r.Admit(here, func() { _ = here.Close() }), there
		}
		first, other := enter()
		second, _ := enter()
		go func() { _, _ = io.Copy(io.Discard, other) }()
		time.Sleep(time.Minute - time.Second)
		if third, _ := enter(); third != nil {
			t.Error("a third is in while both have carried something of late")
		}
		if _, err := first.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		third, _ := enter()
		if third == nil {
			t.Fatal("there was no room although one had been quiet for long")
		}
		if _, err := second.Write([]byte("x")); err == nil {
			t.Error("the one that was quiet for longest is open")
		}
		if _, err := first.Write([]byte("x")); err != nil {
			t.Errorf("the one that had carried something is closed: %v", err)
		}
		_ = third.Close()
		if open := r.Open(); len(open) != 1 || open[0] != first {
			t.Errorf("%d are in the room", len(open))
		}
		_ = first.Close()
	})
}
