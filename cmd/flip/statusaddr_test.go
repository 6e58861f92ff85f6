package main

import (
	"testing"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

func TestGateWords(t *testing.T) {
	for want, g := range map[string]api.Gate{
		"open, nobody but flip can alter it; 12 addresses; renewed in 24 µs":                                      {State: api.GateOpen, Owned: true, Addrs: 12, RenewalUS: 24},
		"open, watched: rebuilt within milliseconds after somebody alters it; 1 address":                          {State: api.GateOpen, Addrs: 1},
		"shut (no lease), nobody but flip can alter it; 0 addresses; renewed in 294 ms":                           {State: api.GateShut, Owned: true, RenewalUS: 294_000, Why: "no lease"},
		"open, nobody but flip can alter it; 2 addresses; renewed in 1.5 s, at worst in 2 s":                      {State: api.GateOpen, Owned: true, Addrs: 2, RenewalUS: 1_500_000, WorstUS: 2_000_000},
		"open, nobody but flip can alter it; 2 addresses; 1 renewal came too late, and the kernel opened nothing": {State: api.GateOpen, Owned: true, Addrs: 2, Refused: 1},
	} {
		if got := gateWords(g); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestPlumbedWords(t *testing.T) {
	one := func(item, dev, stranger string) api.Address {
		return api.Address{System: "vip", Interface: dev, Addresses: []string{"10.0.0.5/32"}, Told: 2, Announced: 1, Stranger: stranger, Item: fsm.ItemID(item)}
	}
	for _, test := range []struct {
		want string
		list []api.Address
	}{
		{"1 address on eth0; 2 hosts told, 1 round announced", []api.Address{one("a", "eth0", "")}},
		{"2 addresses on eth0, 1 on eth1; 6 hosts told, 3 rounds announced", []api.Address{one("a", "eth0", ""), one("b", "eth1", ""), one("c", "eth0", "")}},
		{"1 address on no interface; 2 hosts told, 1 round announced", []api.Address{one("a", "", "")}},
		{
			"4 addresses on eth0; 8 hosts told, 4 rounds announced; strangers answer: vip/a: x; vip/b: x; vip/c: x and 1 more",
			[]api.Address{one("a", "eth0", "x"), one("b", "eth0", "x"), one("c", "eth0", "x"), one("d", "eth0", "x")},
		},
	} {
		if got := plumbedWords(test.list); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
