package doctor

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// host is a server: a bond of two, a VLAN on it, a bridge that has the VLAN and a
// guest's veth as ports, a macvlan, a container's veth.
var host = []link{
	{name: "lo", index: 1, kind: "device", up: true, running: true, noARP: true},
	{name: "eth0", index: 2, kind: "device", up: true, running: true, master: 4},
	{name: "eth1", index: 3, kind: "device", up: true, running: true, master: 4},
	{name: "bond0", index: 4, kind: "bond", mode: "active-backup", up: true, running: true},
	{name: "bond0.5", index: 5, kind: "vlan", up: true, running: true, parent: 4, master: 6},
	{name: "br5", index: 6, kind: "bridge", up: true, running: true},
	{name: "guest0", index: 7, kind: "veth", up: true, running: true, parent: 2, abroad: true, master: 6},
	{name: "mac0", index: 8, kind: "macvlan", up: true, running: true, parent: 4},
	{name: "veth0", index: 9, kind: "veth", up: true, running: true, parent: 10},
	{name: "veth1", index: 10, kind: "veth", up: true, running: true, parent: 9, master: 11},
	{name: "br0", index: 11, kind: "bridge", up: true, running: true},
	{name: "other", index: 12, kind: "device", up: true, running: true, master: 11},
}

func TestStack(t *testing.T) {
	for name, want := range map[string]string{
		"lo":      "lo",
		"br5":     "br5 bond0.5 guest0 bond0 eth0 eth1",
		"bond0.5": "bond0.5 bond0 br5 eth0 eth1",
		"mac0":    "mac0 bond0 eth0 eth1",
		"eth0":    "eth0 bond0",
		"guest0":  "guest0 br5",
		"veth0":   "veth0 veth1 br0",
		"none":    "",
	} {
		var got []string
		for _, l := range stack(host, name) {
			got = append(got, l.name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestKindOf(t *testing.T) {
	for _, tt := range []struct {
		l     link
		want  Verdict
		words string
	}{
		{link{kind: "device", up: true, running: true}, OK, "device"},
		{link{kind: "device", running: true}, Warn, "ip link set x up"},
		{link{kind: "device", up: true}, Warn, "no carrier"},
		{link{kind: "bond", mode: "802.3ad", up: true, running: true}, OK, "bond 802.3ad"},
		{link{kind: "bond", mode: "balance-alb", up: true, running: true}, Warn, "different MACs"},
		{link{kind: "macvlan", up: true, running: true}, Note, "itself does not reach"},
		{link{kind: "ipvlan", mode: "l2", up: true, running: true}, Note, "itself does not reach"},
		{link{kind: "ipvlan", mode: "l3", up: true, running: true}, Warn, "mode l2"},
		{link{kind: "wireguard", noARP: true, up: true, running: true}, Warn, "no ARP"},
		{link{kind: "device", noARP: true, up: true, running: true}, OK, "device"}, // lo
	} {
		tt.l.name = "x"
		is(t, kindOf([]link{tt.l}, Use{Name: "x"})[0], tt.want, tt.words)
	}
	is(t, kindOf(nil, Use{Name: "x"})[0], Bad, "none of this name")
}

func TestPasses(t *testing.T) {
	all := slices.Clone(host)
	if got := lines(passes(all, []string{"br5", "mac0"})); got != "ok past the gate : no XDP, tc redirect or neighbour suppression on br5, bond0.5, guest0, bond0, eth0, eth1, mac0\n" {
		t.Errorf("%s", got)
	}
	all[1].xdp = true                                        // eth0
	all[6].neighSuppress, all[11].neighSuppress = true, true // guest0, other
	all[3].redirects, all[5].programs = []string{"a tc filter (u32, ingress) redirects packets to x"}, 2
	found := passes(all, []string{"br5"})
	whole(t, found...)
	want := "note past the gate br5: 2 tc programs: flip cannot tell whether they forward packets of virtual addresses past the gate (bpftool net)\n" +
		"warn past the gate guest0: neigh_suppress: the bridge answers ARP and ND from its own table, whatever this host wants\n" +
		"warn past the gate bond0: a tc filter (u32, ingress) redirects packets to x: what it takes never meets the gate\n" +
		"warn past the gate eth0: an XDP program sees packets first, and may answer or forward them\n"
	if got := lines(found); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// inNamespace runs the test in a network namespace of its own, which goes with
// its thread.
func inNamespace(t *testing.T) {
	t.Helper()
	before, err := netns.Get()
	if err != nil {
		t.Skip("no network namespaces here:", err)
	}
	runtime.LockOSThread()
	unlock := runtime.UnlockOSThread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		unlock()
		_ = before.Close()
		t.Skip("a network namespace takes root:", err)
	}
	t.Cleanup(func() {
		if err := netns.Set(before); err != nil {
			t.Error("cannot go back:", err) // the thread stays locked, and ends with the test
			return
		}
		_ = before.Close()
		unlock()
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func added(t *testing.T, l netlink.Link) netlink.Link {
	t.Helper()
	must(t, netlink.LinkAdd(l))
	found, err := netlink.LinkByName(l.Attrs().Name)
	must(t, err)
	must(t, netlink.LinkSetUp(found))
	return found
}

// What the kernel is told by others is found: a redirect, a suppressing port, an
// XDP program.
func TestLinksOfTheKernel(t *testing.T) {
	inNamespace(t)
	added(t, &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "v0"}, PeerName: "v1"})
	br := added(t, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}})
	v0, err := netlink.LinkByName("v0")
	must(t, err)
	v1, err := netlink.LinkByName("v1")
	must(t, err)
	must(t, netlink.LinkSetUp(v1))
	must(t, netlink.LinkSetMaster(v1, br))

	uses := []Use{{Name: "v0", V4: true}, {Name: "gone"}}
	got := lines(Links(uses, true))
	for _, want := range []string{"ok interface v0: veth", "bad interface gone: there is none", "ok past the gate : no XDP, tc redirect or neighbour suppression on v0, v1, br0"} {
		if !strings.Contains(got, want) {
			t.Fatalf("got\n%swant %s", got, want)
		}
	}
	if got := lines(Links(uses, false)); !strings.Contains(got, "skip past the gate") {
		t.Errorf("without a gate:\n%s", got)
	}
	if got := lines(Links(nil, true)); !strings.HasPrefix(got, "skip interfaces") {
		t.Errorf("without addresses:\n%s", got)
	}

	must(t, netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: v0.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}))
	must(t, netlink.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: v0.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Priority: 1, Protocol: unix.ETH_P_IP},
		Actions:     []netlink.Action{netlink.NewMirredAction(br.Attrs().Index)},
	}))
	must(t, netlink.LinkSetBrNeighSuppress(v1, true))
	found := Links(uses, true)
	whole(t, found...)
	for _, want := range []string{"warn past the gate v0: a tc filter (u32, ingress) redirects packets to br0", "warn past the gate v1: neigh_suppress"} {
		if got := lines(found); !strings.Contains(got, want) {
			t.Errorf("got\n%swant %s", got, want)
		}
	}

	fd, err := loadXDP()
	if err != nil {
		t.Skip("the kernel loads no programs here:", err)
	}
	defer func() { _ = unix.Close(fd) }()
	must(t, netlink.LinkSetXdpFdWithFlags(v1, fd, nl.XDP_FLAGS_SKB_MODE))
	if got := lines(Links(uses, true)); !strings.Contains(got, "warn past the gate v1: an XDP program sees packets first") {
		t.Errorf("got\n%s", got)
	}
}

// loadXDP loads `return XDP_PASS`.
func loadXDP() (int, error) {
	type insn struct {
		code, regs uint8
		off        int16
		imm        int32
	}
	code := []insn{{code: 0xb7, imm: 2}, {code: 0x95}} // r0 = 2; exit
	license := []byte("GPL\x00")
	attr := struct {
		kind, count    uint32
		insns, license uint64
		_              [4]uint64
	}{unix.BPF_PROG_TYPE_XDP, uint32(len(code)), uint64(uintptr(unsafe.Pointer(&code[0]))), uint64(uintptr(unsafe.Pointer(&license[0]))), [4]uint64{}}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}
