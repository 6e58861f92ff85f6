package lab

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// echoPriority is above flip's: what measures is not kept waiting by what is
// measured.
const echoPriority = 20

// Host is one machine of the lab.
type Host struct {
	Name             string
	Space            *Space
	Addr4, Addr6     netip.Addr // unmanaged ones on the service interface
	Cluster          netip.Addr // invalid: no leg there
	MAC              net.HardwareAddr
	Join             string // HOST:PORT,… of members that its daemon asks to be taken in; "": its file says who is one
	lab              *Lab
	echo             *exec.Cmd
	daemon           *Daemon
	daemons          []*Daemon // all that ever ran
	servicePort      string    // on the bridge's side
	clusterPort      string
	disk             *disk // nil: the lab's directory
	service, cluster bool  // cut now
}

func (l *Lab) newHost(name string, number byte, cluster bool) (*Host, error) {
	space, err := newSpace(l.spaceName(name))
	if err != nil {
		return nil, err
	}
	h := &Host{
		Name: name, Space: space, lab: l, Addr4: addr4(number), Addr6: addr6(number), MAC: mac(0x1b, number),
		servicePort: "s-" + name, clusterPort: "c-" + name,
	}
	if cluster {
		h.Cluster = netip.MustParseAddr(fmt.Sprint(clusterPrefix, number))
	}
	if err := h.plug(number); err != nil {
		space.close()
		return nil, err
	}
	return h, nil
}

func (h *Host) plug(number byte) error {
	for key, value := range map[string]string{
		"ipv6/conf/default/accept_dad": "0", "ipv6/conf/default/accept_ra": "0", "ipv6/conf/all/accept_dad": "0",
		// The last answer of a host that lost an address is not to come from the other leg.
		"ipv4/conf/all/arp_ignore": "1", "ipv4/conf/default/arp_ignore": "1",
	} {
		if err := h.Space.Sysctl(key, value); err != nil {
			return fmt.Errorf("set %s in %s: %w", key, h.Name, err)
		}
	}
	wires := []string{
		fmt.Sprintf("link add %s type veth peer name %s address %s netns %s", h.servicePort, ServiceInterface, h.MAC, h.Space.Name),
		fmt.Sprintf("link set %s master service up", h.servicePort),
	}
	inside := []string{
		fmt.Sprintf("link set %s up", ServiceInterface),
		fmt.Sprintf("addr add %s/%d brd + dev %s", h.Addr4, serviceBits4, ServiceInterface),
		fmt.Sprintf("addr add %s/%d dev %s nodad", h.Addr6, serviceBits6, ServiceInterface),
		fmt.Sprintf("neigh replace %s lladdr %s nud permanent dev %s", WatcherAddr4(), WatcherMAC(), ServiceInterface),
		fmt.Sprintf("neigh replace %s lladdr %s nud permanent dev %s", WatcherAddr6(), WatcherMAC(), ServiceInterface),
	}
	if h.Cluster.IsValid() {
		wires = append(wires,
			fmt.Sprintf("link add %s type veth peer name %s address %s netns %s", h.clusterPort, ClusterInterface, mac(0x1c, number), h.Space.Name),
			fmt.Sprintf("link set %s master cluster up", h.clusterPort))
		inside = append(inside,
			fmt.Sprintf("link set %s up", ClusterInterface),
			fmt.Sprintf("addr add %s/%d brd + dev %s", h.Cluster, clusterBits, ClusterInterface))
	}
	if err := h.lab.Wires.IP(wires...); err != nil {
		return err
	}
	return h.Space.IP(inside...)
}

// ServicePort is the bridge's end of the host's service leg.
func (h *Host) ServicePort() string { return h.servicePort }

// startEcho starts the echo server and waits until it says that it listens.
func (h *Host) startEcho(args, env []string) error {
	cmd := h.Space.Command(echoPriority, args...)
	cmd.Env = append(cmd.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("echo in %s: %w", h.Name, err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("echo in %s: %w", h.Name, err)
	}
	h.echo = cmd
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		_ = cmd.Wait()
		h.echo = nil
		return fmt.Errorf("echo in %s did not start: %w: %s", h.Name, err, said.String())
	}
	return nil
}

// wait reaps what was started in the host; all of it has been killed.
func (h *Host) wait() {
	if h.echo != nil {
		_ = h.echo.Wait()
	}
	for _, d := range h.daemons {
		<-d.Done
	}
	if h.disk != nil {
		_ = h.disk.loop.Close()
	}
}

// Addresses are what the kernel has on the service interface now, the host's
// own and link-local ones left out.
func (h *Host) Addresses() ([]netip.Prefix, error) {
	link, err := h.Space.nl.LinkByName(ServiceInterface)
	if err != nil {
		return nil, fmt.Errorf("link of %s: %w", h.Name, err)
	}
	list, err := h.Space.nl.AddrList(link, netlink.FAMILY_ALL)
	for tries := 0; errors.Is(err, netlink.ErrDumpInterrupted) && tries < 10; tries++ {
		list, err = h.Space.nl.AddrList(link, netlink.FAMILY_ALL)
	}
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", h.Name, err)
	}
	var out []netip.Prefix
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		if ip == h.Addr4 || ip == h.Addr6 || ip.IsLinkLocalUnicast() {
			continue
		}
		bits, _ := a.Mask.Size()
		out = append(out, netip.PrefixFrom(ip, bits))
	}
	return out, nil
}

// Carrier reports whether the host's kernel sees the wire of an interface.
func (h *Host) Carrier(name string) (bool, error) {
	link, err := h.Space.nl.LinkByName(name)
	if err != nil {
		return false, fmt.Errorf("link %s of %s: %w", name, h.Name, err)
	}
	return link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0, nil
}

// Mortal reports whether the kernel will take an address away by itself; an error
// if it has none such.
func (h *Host) Mortal(addr netip.Addr) (bool, error) {
	link, err := h.Space.nl.LinkByName(ServiceInterface)
	if err != nil {
		return false, fmt.Errorf("link of %s: %w", h.Name, err)
	}
	list, err := h.Space.nl.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return false, fmt.Errorf("addresses of %s: %w", h.Name, err)
	}
	for _, a := range list {
		if ip, _ := netip.AddrFromSlice(a.IP); ip.Unmap() == addr {
			return uint32(a.ValidLft) != forever, nil
		}
	}
	return false, fmt.Errorf("%s does not have %s", h.Name, addr)
}

// forever is the lifetime of an address without one.
const forever = 1<<32 - 1
