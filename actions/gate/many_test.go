package gate

import (
	"net/netip"
	"testing"

	"github.com/google/nftables"
)

// addresses gives n addresses of a family, none of those that worlds use.
func addresses(n int, six bool) []netip.Addr {
	all := make([]netip.Addr, n)
	for i := range all {
		if six {
			all[i] = netip.AddrFrom16([16]byte{0xfd, 0xaa, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)})
		} else {
			all[i] = netip.AddrFrom4([4]byte{172, byte(16 + i>>16), byte(i >> 8), byte(i)})
		}
	}
	return all
}

// 10,000 addresses of each family are all inside, whichever way they came: more
// than one message can name, and more than a socket's buffer takes by default.
func TestTenThousand(t *testing.T) {
	w := newWorld(t)
	ps := w.probes()
	c := stranger(t)
	four, six := addresses(10_000, false), addresses(10_000, true)
	held := func(when string, want4, want6 int) {
		t.Helper()
		for _, s := range []struct {
			family nftables.TableFamily
			set    string
			want   int
		}{{nftables.TableFamilyINet, setAddr4, want4}, {nftables.TableFamilyARP, setAddr4, want4}, {nftables.TableFamilyINet, setAddr6, want6}} {
			if n := count(t, c, s.family, s.set); n != s.want {
				t.Errorf("%s: %d elements in %s of family %d, want %d", when, n, s.set, s.family, s.want)
			}
		}
	}
	g := w.gate(options{}, append(append(gated[:2:2], four...), six...)...)
	held("opened with them", 10_001, 10_001)
	expect(t, "shut", ps, false)
	opened(t, g)
	expect(t, "open", ps, true)
	must(t, g.Remove(four))
	must(t, g.Remove(six[:5000]))
	held("removed", 1, 5001)
	must(t, g.Add(six))
	must(t, g.Add(four))
	held("added", 10_001, 10_001)
	expect(t, "still open", ps, true)
	must(t, g.Shut())
	expect(t, "shut again", ps, false)
}

// What the kernel does not hold is noticed when it is read back, and made good.
// A stranger who takes it out at once stands for a message cut short.
func TestReadBack(t *testing.T) {
	lonely(t)
	g := newGate(t, Config{Name: "flip-test"}, options{unowned: true})
	c := stranger(t)
	for _, n := range []int{2, few + 1} {
		all := addresses(n, false)
		must(t, g.Add(all))
		must(t, c.SetDeleteElements(setOf(t, c, nftables.TableFamilyARP, setAddr4), []nftables.SetElement{{Key: all[1].AsSlice()}}))
		must(t, c.Flush())
		g.mu.Lock()
		err := g.stored(g.addrs)
		g.mu.Unlock()
		if err == nil {
			t.Errorf("%d addresses: one is missing and nobody says so", n)
		}
		must(t, g.Shut())
		must(t, g.Dismantle())
		g = newGate(t, Config{Name: "flip-test"}, options{unowned: true})
	}
}
