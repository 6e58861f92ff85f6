package netif

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A Remover finds addresses on whatever link they are, with whatever length, and
// touches no other.
func TestRemover(t *testing.T) {
	namespace(t)
	ip(t, "addr add 10.5.0.1/24 dev va")
	ip(t, "addr add 10.5.0.2/32 dev va")
	ip(t, "addr add 10.5.0.3/32 dev vb")
	ip(t, "addr add 10.5.0.3/32 dev va") // on two links
	ip(t, "addr add fd05::2/128 dev vb nodad")
	ip(t, "addr add fd05::1/64 dev vb nodad")
	r, err := NewRemover()
	if err != nil {
		t.Fatal(err)
	}
	gone := []netip.Addr{
		netip.MustParseAddr("10.5.0.2"), netip.MustParseAddr("::ffff:10.5.0.3"), netip.MustParseAddr("fd05::2"),
		netip.MustParseAddr("10.5.0.99"), // is not there
	}
	for range 2 {
		fine(t, r.Remove(gone))
	}
	all := ip(t, "-o addr show")
	for _, a := range []string{"10.5.0.2", "10.5.0.3", "fd05::2"} {
		if strings.Contains(all, a+"/") {
			t.Errorf("%s is there: %s", a, all)
		}
	}
	for _, a := range []string{"10.5.0.1/24", "fd05::1/64"} {
		if !strings.Contains(all, a) {
			t.Errorf("%s is gone: %s", a, all)
		}
	}
	if err := errors.Join(r.Remove(nil)...); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if errs := r.Remove(gone); errs[0] == nil || errs[3] == nil {
		t.Errorf("after its end: %v", errs)
	}
}

// Thousands go, batch by batch; beside them the others stay.
func TestRemoverOfMany(t *testing.T) {
	namespace(t)
	n := open(t)
	va := index(t, n, "va")
	var plumb []Address
	var gone []netip.Addr
	for i := range 1001 {
		a := netip.AddrFrom4([4]byte{10, 6, byte(i >> 8), byte(i)})
		plumb = append(plumb, Address{Link: va, Prefix: netip.PrefixFrom(a, 32), Mark: AtMostOne, Valid: time.Minute})
		if i != 500 {
			gone = append(gone, a)
		}
	}
	fine(t, n.Add(plumb))
	r, err := NewRemover()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	began := time.Now()
	fine(t, r.Remove(gone))
	t.Logf("%d addresses removed in %v", len(gone), time.Since(began).Round(100*time.Microsecond))
	if left := ip(t, "-4 -o addr show dev va"); strings.Count(left, "\n") != 1 || !strings.Contains(left, "10.6.1.244") {
		t.Errorf("left: %s", left)
	}
}
