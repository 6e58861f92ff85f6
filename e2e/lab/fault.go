package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/e2e/mono"
)

// Networks says which of a host's legs a fault concerns.
type Networks uint8

// The two networks and both.
const (
	Service Networks = 1 << iota
	Cluster
	Both = Service | Cluster
)

// A question that met no wire is asked again by the kernel's resolver only after
// a second; a heal is seen within this many questions.
const (
	healTries = 100
	healLimit = 50 * time.Millisecond
)

// CutCable takes the wire out at the bridge's end: carrier goes. It returns the
// moment before the cut, once the cut has been seen.
func (l *Lab) CutCable(nets Networks, hosts ...*Host) (mono.Time, error) {
	return l.cut(nets, hosts, (*netlink.Handle).LinkSetDown, false)
}

// CutSilently has the bridges neither take nor give at the hosts' ports: carrier
// stays, nothing passes. All ports are shut within a millisecond.
func (l *Lab) CutSilently(nets Networks, hosts ...*Host) (mono.Time, error) {
	return l.cut(nets, hosts, func(_ *netlink.Handle, port netlink.Link) error { return l.Wires.portState(port, portDisabled) }, true)
}

// The states of a bridge's port, as the kernel numbers them.
const (
	portDisabled   = 0
	portForwarding = 3
)

// portState sets the state of a bridge's port, which nothing else does here: no
// spanning tree runs. (Taking the port out of the bridge waits for every reader
// in the kernel: up to 100 ms.)
func (s *Space) portState(port netlink.Link, state byte) error {
	return s.Do(func() error {
		req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
		msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
		msg.Index = int32(port.Attrs().Index)
		req.AddData(msg)
		info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
		info.AddRtAttr(nl.IFLA_BRPORT_STATE, []byte{state})
		req.AddData(info)
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
}

func (l *Lab) cut(nets Networks, hosts []*Host, how func(*netlink.Handle, netlink.Link) error, carrier bool) (mono.Time, error) {
	// Names are looked up before, so that the cuts come within microseconds.
	var ports []netlink.Link
	for _, h := range hosts {
		for _, name := range h.ports(nets) {
			port, err := l.Wires.nl.LinkByName(name)
			if err != nil {
				return 0, fmt.Errorf("port %s: %w", name, err)
			}
			ports = append(ports, port)
		}
	}
	at := mono.Now()
	for _, port := range ports {
		if err := how(l.Wires.nl, port); err != nil {
			return at, fmt.Errorf("cut %s: %w", port.Attrs().Name, err)
		}
	}
	for _, h := range hosts {
		h.service = h.service || nets&Service != 0
		h.cluster = h.cluster || nets&Cluster != 0
	}
	for _, h := range hosts {
		if err := l.seenCut(h, nets, carrier); err != nil {
			return at, err
		}
	}
	return at, nil
}

// Heal undoes every cut of the hosts, and those of one way of all. It returns the moment before that, once
// each is seen to be healed.
func (l *Lab) Heal(hosts ...*Host) (mono.Time, error) {
	at := mono.Now()
	if err := l.healOneWay(); err != nil {
		return at, err
	}
	for _, h := range hosts {
		for _, name := range h.ports(Both) {
			if err := l.healPort(name); err != nil {
				return at, err
			}
		}
		h.service, h.cluster = false, false
	}
	return at, l.allReach()
}

// healPort plugs the cable in, if it is out, and has the bridge forward again.
func (l *Lab) healPort(name string) error {
	port, err := l.Wires.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("port %s: %w", name, err)
	}
	if port.Attrs().RawFlags&unix.IFF_UP == 0 {
		// A port that comes up forwards by itself.
		if err := l.Wires.nl.LinkSetUp(port); err != nil {
			return fmt.Errorf("plug %s in: %w", name, err)
		}
		return nil
	}
	if err := l.Wires.portState(port, portForwarding); err != nil {
		return fmt.Errorf("heal %s: %w", name, err)
	}
	return nil
}

func (h *Host) ports(nets Networks) []string {
	var out []string
	if nets&Service != 0 {
		out = append(out, h.servicePort)
	}
	if nets&Cluster != 0 && h.Cluster.IsValid() {
		out = append(out, h.clusterPort)
	}
	return out
}

// seenCut fails unless the host no longer answers on the networks, and still
// does on a network that was not cut; its own kernel must see carrier or not.
func (l *Lab) seenCut(h *Host, nets Networks, carrier bool) error {
	from := l.Client
	if other := l.uncut(h); other != nil {
		from = other
	}
	for net, leg := range map[Networks]string{Service: ServiceInterface, Cluster: ClusterInterface} {
		if nets&net == 0 {
			continue
		}
		if net == Cluster && from == l.Client {
			continue // nobody is left there to ask it
		}
		if from.reaches(h.addr(net), 3, 20*time.Millisecond) {
			return fmt.Errorf("%s still answers on %s after the cut", h.Name, leg)
		}
		// Carrier is seen by the host's kernel at once; by linkwatch a little later.
		if have, err := h.Carrier(leg); err != nil || have != carrier {
			return fmt.Errorf("carrier of %s on %s is %v after the cut, want %v: %w", h.Name, leg, have, carrier, errors.Join(err))
		}
	}
	if nets == Service && from != l.Client && !from.reaches(h.Cluster, healTries, healLimit) {
		return fmt.Errorf("%s does not answer on the cluster network either", h.Name)
	}
	return nil
}

// uncut is another host whose legs both work, nil if there is none.
func (l *Lab) uncut(but *Host) *Host {
	for _, h := range l.Hosts {
		if h != but && !h.service && !h.cluster {
			return h
		}
	}
	return nil
}

// allReach fails unless every host reaches its peers over every network that is
// not cut: the next one on both, the client on the service network.
func (l *Lab) allReach() error {
	for i, h := range l.Hosts {
		if h.service || h.cluster {
			continue
		}
		if !l.Client.reaches(h.Addr4, healTries, healLimit) || !l.Client.reaches(h.Addr6, 20, 50*time.Millisecond) {
			return fmt.Errorf("the client does not reach %s", h.Name)
		}
		next := l.Hosts[(i+1)%len(l.Hosts)]
		if next != h && !next.cluster && !h.reaches(next.Cluster, healTries, healLimit) {
			return fmt.Errorf("%s does not reach %s on the cluster network", h.Name, next.Name)
		}
	}
	return nil
}

// CarrierGone returns a channel that gets the moment at which the host's kernel
// tells its processes that the service interface has lost carrier. Close done in
// the end.
func (h *Host) CarrierGone(done <-chan struct{}) (<-chan mono.Time, error) {
	updates := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribeAt(h.Space.fd, updates, done); err != nil {
		return nil, fmt.Errorf("watch the links of %s: %w", h.Name, err)
	}
	gone := make(chan mono.Time, 1)
	go func() {
		for u := range updates {
			if u.Attrs().Name == ServiceInterface && u.Attrs().RawFlags&unix.IFF_LOWER_UP == 0 {
				select {
				case gone <- mono.Now():
				default: // only the first time counts
				}
			}
		}
	}()
	return gone, nil
}

// AddressComes returns a channel that gets the moment at which the host's kernel
// tells its processes that it has the address. Close done in the end.
func (h *Host) AddressComes(addr netip.Addr, done <-chan struct{}) (<-chan mono.Time, error) {
	updates := make(chan netlink.AddrUpdate, 64)
	if err := netlink.AddrSubscribeAt(h.Space.fd, updates, done); err != nil {
		return nil, fmt.Errorf("watch the addresses of %s: %w", h.Name, err)
	}
	came := make(chan mono.Time, 1)
	go func() {
		for u := range updates {
			if ip, _ := netip.AddrFromSlice(u.LinkAddress.IP); !u.NewAddr || ip.Unmap() != addr {
				continue
			}
			select {
			case came <- mono.Now():
			default: // only the first time counts
			}
		}
	}()
	return came, nil
}
