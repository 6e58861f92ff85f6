package doctor

import (
	"fmt"
	"strings"
	"testing"
)

// conf is the files of the settings of eth0 and all, "name own all" each.
func conf(settings ...string) map[string]string {
	files := map[string]string{}
	for _, s := range settings {
		var name, own, all string
		if _, err := fmt.Sscan(s, &name, &own, &all); err != nil {
			panic(err)
		}
		files["proc/sys/net/"+strings.Replace(name, "/", "/conf/eth0/", 1)] = own + "\n"
		files["proc/sys/net/"+strings.Replace(name, "/", "/conf/all/", 1)] = all + "\n"
	}
	return files
}

func TestSysctls(t *testing.T) {
	v4, v6 := Use{Name: "eth0", V4: true}, Use{Name: "eth0", V6: true}
	shared, many := Use{Name: "eth0", V4: true, Shared: true, Many: true}, Use{Name: "eth0", V4: true, Many: true}
	for _, tt := range []struct {
		setting string
		use     Use
		want    Verdict
		words   string
	}{
		{"ipv4/arp_ignore 0 0", v4, OK, "arp_ignore 0"},
		{"ipv4/arp_ignore 0 0", shared, Warn, "net.ipv4.conf.eth0.arp_ignore=N"},
		{"ipv4/arp_ignore 0 1", shared, OK, "arp_ignore 1"}, // the higher counts
		{"ipv4/arp_ignore 8 0", v4, Bad, "answers no ARP request"},
		{"ipv4/arp_ignore 1 2", v4, Warn, "in a subnet"},
		{"ipv4/arp_announce 1 0", shared, Warn, "set it to 2"},
		{"ipv4/arp_announce 2 0", shared, OK, "arp_announce 2"},
		{"ipv4/arp_filter 0 1", many, Note, "route leads back"},
		{"ipv4/rp_filter 1 0", v4, OK, "rp_filter 1"},
		{"ipv4/rp_filter 1 0", many, Warn, "strict"},
		{"ipv4/rp_filter 1 2", many, OK, "rp_filter 2"},
		{"ipv4/promote_secondaries 0 0", v4, Note, "1 is better"},
		{"ipv4/promote_secondaries 0 1", v4, OK, "promote_secondaries 1"},
		{"ipv4/proxy_arp 1 0", v4, Warn, "another member holds"},
		{"ipv4/drop_gratuitous_arp 0 1", v4, Warn, "ignores their announcements"},
		{"ipv6/disable_ipv6 1 0", v6, Bad, "no IPv6 address"},
		{"ipv6/disable_ipv6 0 1", v6, OK, "disable_ipv6 0"}, // all is only what new interfaces get
		{"ipv6/accept_dad 2 0", v6, Warn, "all IPv6 off"},
		{"ipv6/drop_unsolicited_na 1 0", v6, Warn, "announcements"},
		{"ipv6/ndisc_notify 1 0", v6, OK, "ndisc_notify 1"},
		{"ipv6/disable_ipv6 1 0", v4, Skip, "no such interface"}, // not asked about
	} {
		all := Sysctls(tree(conf(tt.setting)), tt.use)
		if len(all) != 1 {
			t.Errorf("%s: %s", tt.setting, lines(all))
			continue
		}
		is(t, all[0], tt.want, tt.words)
	}
	all := Sysctls(tree(conf("ipv4/arp_ignore 1 0", "ipv4/arp_announce 2 0", "ipv4/proxy_arp 1 0")), v4)
	if want := "ok sysctls eth0: arp_ignore 1, arp_announce 2\nwarn sysctl proxy_arp eth0: 1: this host"; !strings.HasPrefix(lines(all), want) {
		t.Errorf("%s", lines(all))
	}
	vlan := map[string]string{"proc/sys/net/ipv4/conf/eth0.5/proxy_arp": "1"}
	is(t, Sysctls(tree(vlan), Use{Name: "eth0.5", V4: true})[0], Warn, "net.ipv4.conf.eth0/5.proxy_arp")
}

func TestNonlocal(t *testing.T) {
	root := tree(map[string]string{"proc/sys/net/ipv4/ip_nonlocal_bind": "0\n", "proc/sys/net/ipv6/ip_nonlocal_bind": "1\n"})
	is(t, Nonlocal(root, true, false)[0], Note, "can be up everywhere")
	is(t, Nonlocal(root, false, true)[0], OK, "1")
	if got := Nonlocal(root, true, true); len(got) != 2 || got[0].On != "ipv4" {
		t.Errorf("%s", lines(got))
	}
	if got := Nonlocal(tree(nil), true, true); len(got) != 0 {
		t.Errorf("%s", lines(got))
	}
}
