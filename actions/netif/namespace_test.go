package netif

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// failer is what tests, benchmarks and properties have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// patience is how long an event may take on a loaded machine.
const patience = 5 * time.Second

// namespace moves the test into a network namespace of its own with va and vb,
// a veth pair, up. The namespace ends with the test's thread.
func namespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("no network namespace can be made here (root?): %v", err)
	}
	ip(t, "link set lo up")
	ip(t, "link add va type veth peer name vb")
	ip(t, "link set va up")
	ip(t, "link set vb up")
}

// ip runs the program of that name in the namespace: the stranger, and the oracle.
func ip(t failer, line string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", line, err, out)
	}
	return string(out)
}

// open opens a Net in the namespace; run keeps its picture too.
func open(t testing.TB) *Net {
	t.Helper()
	n, err := Open(zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func running(t testing.TB) *Net {
	t.Helper()
	n := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return n
}

// await waits until the picture is as wanted.
func await(t testing.TB, n *Net, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !ok() {
		select {
		case <-n.Changed():
		case <-limit.C:
			if ok() {
				t.Fatalf("%s: true, but nothing was signalled", what)
			}
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

func index(t testing.TB, n *Net, name string) int {
	t.Helper()
	l, ok := n.Link(name)
	if !ok {
		t.Fatalf("no link %s", name)
	}
	return l.Index
}

func address(link int, prefix string, m Mark, valid time.Duration) Address {
	return Address{Link: link, Prefix: netip.MustParsePrefix(prefix), Mark: m, Valid: valid}
}

// fine fails for errors.
func fine(t testing.TB, errs []error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// shown is one address as `ip -json addr` shows it.
type shown struct {
	Local     string
	Prefixlen int
	Label     string
	Valid     uint32 `json:"valid_life_time"`
	Preferred uint32 `json:"preferred_life_time"`
	Nodad     bool
	Dynamic   bool
	NoPrefix  bool `json:"noprefixroute"`
	proto     uint8
	Tentative bool // the kernel tells of it when it is ready
}

// ipAddrs is what the oracle shows, as "link-index local/bits".
func ipAddrs(t failer) map[string]shown {
	t.Helper()
	var links []struct {
		Ifindex int
		Addrs   []shown `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(ip(t, "-json addr")), &links); err != nil {
		t.Fatal(err)
	}
	all := map[string]shown{}
	for _, l := range links {
		for _, a := range l.Addrs {
			all[fmt.Sprintf("%d %s/%d", l.Ifindex, a.Local, a.Prefixlen)] = a
		}
	}
	return all
}

// kernelAddrs is the same by the library's decoder: quicker, and this ip does
// not show IFA_PROTO.
func kernelAddrs(t failer) map[string]shown {
	t.Helper()
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]shown{}
	for _, m := range msgs {
		head := nl.DeserializeIfAddrmsg(m)
		attrs, err := nl.ParseRouteAttrAsMap(m[head.Len():])
		if err != nil {
			t.Fatal(err)
		}
		local := attrs[unix.IFA_LOCAL].Value
		if local == nil {
			local = attrs[unix.IFA_ADDRESS].Value
		}
		a, _ := netip.AddrFromSlice(local)
		s := shown{
			Valid:     nl.DeserializeIfaCacheInfo(attrs[unix.IFA_CACHEINFO].Value).Valid,
			Tentative: nl.NativeEndian().Uint32(attrs[unix.IFA_FLAGS].Value)&unix.IFA_F_TENTATIVE != 0,
		}
		if v := attrs[ifaProto].Value; len(v) == 1 {
			s.proto = v[0]
		}
		all[fmt.Sprintf("%d %s/%d", head.Index, a, head.Prefixlen)] = s
	}
	return all
}

func (a Address) String() string { return fmt.Sprintf("%d %s", a.Link, a.Prefix) }

// drained reads what events there are, and reports whether a is there and was
// put there by a stranger.
func drained(n *Net, a Address) bool {
	n.mu.Lock()
	n.drain()
	n.mu.Unlock()
	have, ok := n.Has(a)
	return ok && have.Mark == 0
}

// sameAsKernel compares the whole picture with the oracle's, a few times: the
// kernel makes link-local addresses of its own at any moment.
func sameAsKernel(t failer, n *Net) {
	t.Helper()
	sameAs(t, n, func() map[string]shown {
		all := ipAddrs(t)
		for k, s := range kernelAddrs(t) {
			if w, ok := all[k]; ok {
				w.proto = s.proto
				all[k] = w
			}
		}
		return all
	})
}

func sameAs(t failer, n *Net, kernel func() map[string]shown) {
	t.Helper()
	var diff string
	for range 100 {
		n.mu.Lock()
		n.drain()
		n.mu.Unlock()
		if diff = difference(n, kernel()); diff == "" {
			return
		}
		n.awaitEvent()
	}
	t.Fatal(diff)
}

func difference(n *Net, want map[string]shown) string {
	var wrong []string
	have := map[string]bool{}
	for _, a := range n.Addresses() {
		have[a.String()] = true
		w, ok := want[a.String()]
		switch {
		case !ok:
			wrong = append(wrong, "the picture shows "+a.String())
		case (a.Valid == 0) != (w.Valid == forever):
			wrong = append(wrong, fmt.Sprintf("%s: valid %s, kernel %d", a, a.Valid, w.Valid))
		case Mark(w.proto).ours() != (a.Mark != 0) || a.Mark != 0 && uint8(a.Mark) != w.proto:
			wrong = append(wrong, fmt.Sprintf("%s: mark %#x, kernel %#x", a, a.Mark, w.proto))
		}
	}
	for k, w := range want {
		if !have[k] && !w.Tentative {
			wrong = append(wrong, "the picture lacks "+k)
		}
	}
	slices.Sort(wrong)
	return strings.Join(wrong, "; ")
}
