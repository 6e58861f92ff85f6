package netif

import (
	"net/netip"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Whatever flip and strangers do, in any order, the picture is as the kernel
// is, and what flip adds is there with mark and lifetime when Add returns.
func TestPictureIsTheKernels(t *testing.T) {
	namespace(t)
	n := open(t)
	links := []string{"lo", "va", "vb"}
	prefixes := []string{"10.0.0.1/24", "10.0.0.1/32", "10.0.0.2/24", "10.0.0.3/32", "2001:db8::1/64", "2001:db8::1/128", "2001:db8::2/128"}
	rapid.Check(t, func(t *rapid.T) {
		for _, name := range links {
			ip(t, "addr flush scope global dev "+name)
		}
		some := func() Address {
			name := rapid.SampledFrom(links).Draw(t, "link")
			l, ok := n.Link(name)
			if !ok {
				t.Fatalf("no link %s", name)
			}
			return Address{
				Link: l.Index, Prefix: netip.MustParsePrefix(rapid.SampledFrom(prefixes).Draw(t, "address")),
				Mark:  rapid.SampledFrom([]Mark{AtMostOne, AtLeastOne}).Draw(t, "mark"),
				Valid: time.Duration(rapid.IntRange(10, 100).Draw(t, "valid")) * time.Second,
			}
		}
		several := func() []Address {
			all := make([]Address, rapid.IntRange(1, 4).Draw(t, "count"))
			for i := range all {
				all[i] = some()
			}
			return all
		}
		stranger := func(do func(netlink.Link, *netlink.Addr) error, flags int) {
			a := some()
			addr, err := netlink.ParseAddr(a.Prefix.String())
			if err != nil {
				t.Fatal(err)
			}
			addr.Flags = flags
			// He fails as often as not: the address is there, or is not.
			_ = do(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: a.Link}}, addr)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				all := several()
				errs := n.Add(all)
				last := map[host]Address{} // IPv6: the last one of a number on a link
				for i, a := range all {
					if errs[i] != nil {
						t.Fatalf("add %s: %v", a, errs[i])
					}
					h := host{a.Link, a.Prefix.Addr()}
					if a.Prefix.Addr().Is4() {
						h.addr = netip.AddrFrom4([4]byte{byte(a.Prefix.Bits()), a.Prefix.Addr().As4()[3]})
					}
					last[h] = a
				}
				for _, a := range last {
					have, ok := n.Has(a)
					if !ok && a.Prefix.Addr().Is6() {
						continue // two lengths in one Add: either may win
					}
					if !ok || have.Mark != a.Mark || have.Valid <= 0 || have.Valid > a.Valid {
						t.Fatalf("added %s %#x %s: mark %#x, valid %s, %v", a, a.Mark, a.Valid, have.Mark, have.Valid, ok)
					}
				}
			},
			"remove": func(t *rapid.T) {
				all := several()
				for i, err := range n.Remove(all) {
					if _, ok := n.Has(all[i]); err != nil || ok {
						t.Fatalf("remove %s: %v, there: %v", all[i], err, ok)
					}
				}
			},
			"stranger adds":    func(t *rapid.T) { stranger(netlink.AddrAdd, unix.IFA_F_NODAD) },
			"stranger removes": func(t *rapid.T) { stranger(netlink.AddrDel, 0) },
			"stranger alters":  func(t *rapid.T) { stranger(netlink.AddrReplace, 0) },
			"":                 func(t *rapid.T) { sameAs(t, n, func() map[string]shown { return kernelAddrs(t) }) },
		})
	})
	if n.Resyncs() != 0 {
		t.Errorf("%d resyncs: the picture was not kept by events", n.Resyncs())
	}
}

// FuzzEvents feeds the decoders whatever bytes: they neither panic nor loop, and
// what they let into the picture is sound.
func FuzzEvents(f *testing.F) {
	b := &batch{}
	n := &Net{picture: newPicture(), log: zerolog.Nop()}
	a := address(2, "10.0.0.1/24", AtMostOne, time.Minute)
	n.addMessage(b, job{key: plainKey(2, a.Prefix), mark: a.Mark, valid: a.Valid}, nil)
	f.Add(b.buf)
	for _, kind := range []uint16{16, 17, 20, 21, 24, 25, 28, 2, 3} {
		f.Add(ask(kind, make([]byte, 40)...).buf)
	}
	short := ask(unix.RTM_NEWADDR, make([]byte, 13)...).buf // ends before its padding
	f.Add(short)
	f.Add(append(native.AppendUint32(nil, 17), make([]byte, 13)...))
	attr := ask(unix.RTM_NEWADDR, append(make([]byte, 8), 5, 0, 1, 0, 7)...).buf
	f.Add(attr)
	f.Fuzz(func(t *testing.T, raw []byte) {
		n := &Net{picture: newPicture(), log: zerolog.Nop(), changed: make(chan struct{}, 1), watched: map[netip.Prefix]answer{
			netip.MustParsePrefix("10.0.0.0/8"): {}, netip.MustParsePrefix("::/0"): {},
		}}
		_ = eachMessage(raw, func(m message) error {
			_ = m.failure()
			return n.apply(m)
		})
		for _, a := range n.Addresses() {
			if !a.Prefix.IsValid() || a.Link <= 0 || a.Valid < 0 {
				t.Errorf("%+v", a)
			}
		}
		for k := range n.picture.hosts {
			if _, ok := n.picture.addrs[n.picture.hosts[k]]; !ok {
				t.Errorf("%v is not there", k)
			}
		}
		for _, l := range n.Links() {
			if l.Index <= 0 || l.Carrier && !l.Up {
				t.Errorf("%+v", l)
			}
		}
	})
}
