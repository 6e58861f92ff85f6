package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
)

// The lab's networks. A host's last byte is ten and its number from one on; the
// client is 1, the watcher, which is no host but answers to what it asks, 254.
const (
	servicePrefix4 = "10.77.0."
	servicePrefix6 = "fd77::"
	clusterPrefix  = "10.78.0."
	serviceBits4   = 16
	serviceBits6   = 64
	clusterBits    = 24

	clientByte  = 1
	watcherByte = 254

	// ServiceInterface and ClusterInterface are what a host calls its legs.
	ServiceInterface = "svc0"
	ClusterInterface = "clu0"
)

// EchoPort is where each host, and the client, answers UDP on every address.
const EchoPort = 7007

// Lab is a running network. Close it.
type Lab struct {
	Dir    string // short, for unix sockets; removed by Close
	Wires  *Space // of the two bridges
	Client *Host  // outside: on the service network only, runs no flip
	Hosts  []*Host
	binary string // flip
	oneWay *oneWay
	close  sync.Once
}

// Config is what a lab is made of.
type Config struct {
	Hosts  []string // names
	Binary string   // flip
	// Echo is the program, with its environment, that answers UDP on EchoPort.
	Echo func(host string) (args, env []string)
}

// New builds the network and starts an echo server in each host. On any error
// nothing is left behind; ErrUnavailable: there can be none here.
func New(cfg Config) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: it needs root", ErrUnavailable)
	}
	dir, err := MakeDir()
	if err != nil {
		return nil, err
	}
	l := &Lab{Dir: dir, binary: cfg.Binary}
	if err := l.build(cfg); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *Lab) build(cfg Config) error {
	var err error
	if l.Wires, err = newSpace(l.spaceName("wires")); err != nil {
		return err
	}
	// Learning of multicast groups needs a querier, which this network has not.
	err = l.Wires.IP(
		"link add service address "+WatcherMAC().String()+" type bridge mcast_snooping 0",
		"link add cluster address 02:f1:1c:00:00:fe type bridge mcast_snooping 0",
		"link set service up", "link set cluster up",
	)
	if err != nil {
		return err
	}
	if l.Client, err = l.newHost("client", clientByte, false); err != nil {
		return err
	}
	for i, name := range cfg.Hosts {
		h, err := l.newHost(name, byte(11+i), true)
		if err != nil {
			return err
		}
		l.Hosts = append(l.Hosts, h)
	}
	for _, h := range append([]*Host{l.Client}, l.Hosts...) {
		args, env := cfg.Echo(h.Name)
		if err := h.startEcho(args, env); err != nil {
			return err
		}
	}
	return l.allReach()
}

func (l *Lab) spaceName(host string) string { return fmt.Sprintf("%s%d-%s", prefix, os.Getpid(), host) }

// Close kills all that runs in the lab and removes it.
func (l *Lab) Close() {
	l.close.Do(func() {
		hosts := l.Hosts
		if l.Client != nil {
			hosts = append(hosts, l.Client)
		}
		for _, h := range hosts {
			endAll(h.Space.Name)
			h.wait()
		}
		for _, h := range hosts {
			h.Space.close()
		}
		if l.Wires != nil {
			endAll(l.Wires.Name)
			l.Wires.close()
		}
		_ = os.RemoveAll(l.Dir)
	})
}

// Host is the host of that name.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// path is a file of the lab.
func (l *Lab) path(name ...string) string {
	return filepath.Join(append([]string{l.Dir}, name...)...)
}

// WatcherMAC is the hardware address that the watcher asks from: the service
// bridge's own, so that answers to it are not flooded.
func WatcherMAC() net.HardwareAddr { return mac(0x1b, watcherByte) }

// WatcherAddr4 and WatcherAddr6 are the addresses that the watcher asks from;
// each host knows their hardware address for good.
func WatcherAddr4() netip.Addr { return addr4(watcherByte) }

// WatcherAddr6 is WatcherAddr4 in the other family.
func WatcherAddr6() netip.Addr { return addr6(watcherByte) }

func mac(network, host byte) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0xf1, network, 0, 0, host}
}

func addr4(host byte) netip.Addr { return netip.MustParseAddr(fmt.Sprint(servicePrefix4, host)) }
func addr6(host byte) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("%s%x", servicePrefix6, host))
}

// ServiceSubnet is the part of the service network that the client is in.
func ServiceSubnet(bits int) string {
	return netip.PrefixFrom(addr4(clientByte), bits).Masked().String()
}
