package config

import (
	"fmt"
	"strings"
)

// Manual is the reference of the configuration file as Markdown, made of
// Reference, the presets and the figures that Parse uses.
func Manual() string {
	var b strings.Builder
	b.WriteString(manualHead)
	for _, section := range []struct{ title, level, words string }{
		{"The top level", levelTop, "Of the node that reads the file: id, machine, key, key_file, tls, log_level, data_dir, metrics\n" +
			"and exit_on_stdin_close. All else is the cluster's: the file seeds it once, from then on the log is the truth."},
		{"Certificates of your own", levelTLS, manualTLS},
		{"A server", levelServer, "Every server has a Raft vote, unless its role is agent. A name has letters, digits and `._-`."},
		{"The cluster", levelCluster, ""},
		{"A system", levelSystem, "A key that only one action has says so; with the other action it is an error."},
		{"A datum", levelItem, "A datum is a string, or an object with these keys. With action ip its addresses move together."},
		{"Partitions", levelPartitions, manualPartitions},
		{"Rounds", levelRound, "With `\"round\": {\"moves\": 10}` at most ten items at one time go home or are moved for balance, and none after them until `every` has\n" +
			"passed. What a lost or leaving member had, and what failed, goes at once."},
		{"What is tracked", levelTrack, "An entry is the name of an interface, or an object with one of these keys."},
		{"Who is told", levelNotify, "An entry is a string, or an object with these keys."},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n", section.title)
		if section.words != "" {
			b.WriteString(section.words + "\n\n")
		}
		manualTable(&b, section.level)
	}
	b.WriteString(manualGuarantees)
	b.WriteString(manualAddresses)
	manualPlace(&b)
	manualTiming(&b)
	manualTakeover(&b)
	manualQuorum(&b)
	return b.String()
}

const manualHead = `# The configuration file

This page is made from the code that reads the file; ` + "`flip check FILE`" + ` prints what flip understands of one, or all that is
wrong with it, each with its line, its column, its key and the nearest valid thing.

One JSON file, the same on every node. ` + "`//`" + ` begins a comment. Unknown keys are errors, and so is a key that is there twice.
A duration is a number of milliseconds, or a string such as ` + "`\"1.5s\"`" + `. A key without a default is needed, unless its meaning
says otherwise.

` + "```json" + `
{
  "key_file": "flip.key",
  "servers": {
    "n1": {"ip": "10.0.0.1", "port": 2200, "systems": ["web"]},
    "n2": {"ip": "10.0.0.2", "port": 2200, "systems": ["web"]},
    "n3": {"ip": "10.0.0.3", "port": 2200}       // no systems: votes, holds nothing
  },
  "cluster": {
    "system": {
      "web": {
        "type": "shard",
        "action": "ip",
        "track": [{"route": "0.0.0.0/0"}],
        "notify": ["arp-cache"],
        "data": ["10.0.0.5/24", {"id": "shop", "addresses": ["10.0.0.6/24", "2001:db8::6/64"]}]
      }
    }
  }
}
` + "```" + `
`

// manualTable writes the keys of one object.
func manualTable(b *strings.Builder, level string) {
	b.WriteString("| key | type | default | meaning | example |\n|---|---|---|---|---|\n")
	for _, doc := range reference {
		name, ok := strings.CutPrefix(doc.Key, level)
		if !ok || strings.ContainsAny(name, ".[") {
			continue
		}
		cell := strings.NewReplacer("|", `\|`).Replace
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | `%s` |\n", name, cell(doc.Type), cell(doc.Default), cell(doc.Meaning), cell(doc.Example))
	}
}

const manualTLS = `By default the key makes the certificates of the servers' TCP port and nobody has to care for them. ` + "`tls`" + ` puts those of an
authority of yours in their place; ` + "`cert`, `key` and `ca`" + ` are needed then. The key at the top level stays needed: it seals the
heartbeats, and a member is who has a certificate of the authority *and* the key. docs/tls.md says how to issue, renew and
change over.`

const manualGuarantees = `
## Guarantees

| guarantee | promise | a node that is cut off |
|---|---|---|
| at-most-one | never two holders of an item, whatever fails | lets go when its lease ends |
| at-least-one | an isolated holder keeps serving; a move takes on before it lets go | keeps what it holds |

One hole is known in at-most-one: a virtual machine that is paused, or a host that is suspended, runs no timer of its kernel either, and
holds what it held for a moment when it goes on.

Only at-least-one can be of type replicate, and ` + "`remove_on_failure`" + ` false is refused with at-most-one.
`

const manualAddresses = `
## Addresses

An address is one of a host: no network, broadcast, multicast, loopback or unspecified address, no IPv4 address in the form of an IPv6
one, no zone. It belongs to one item of one system, whatever its bits, and is no server's own. Without bits it is a /32 or /128, and
needs an interface with a subnet that it is in, or ` + "`interface`" + `. A link-local IPv6 address is in a subnet of every interface and
needs ` + "`interface`" + `.

A group of vippy or Wackamole is an object with ` + "`addresses`" + `. What Flip's hooks found in ` + "`config.interface`" + ` is the key
` + "`interface`" + ` of the system.
`

// manualTiming writes the presets and the relations that are checked.
func manualTiming(b *strings.Builder) {
	b.WriteString("\n## Timing\n\n`timing` is one of three presets:\n\n" +
		"| timing | heartbeat | lease | Raft's heartbeat and election | Raft's leader lease |\n|---|---|---|---|---|\n")
	for _, word := range presets {
		t, _ := Preset(word)
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", word, short(t.Heartbeat), short(t.Lease), short(t.RaftHeartbeat), short(t.RaftLease))
	}
	fmt.Fprintf(b, `
Or the timing comes from Flip's own keys, which cannot stand beside it:

- the lease is `+"`ping_timeout`"+`, from %s to %s; without it, %d x `+"`gossip_interval`"+`;
- a heartbeat goes every `+"`gossip_interval`"+`, at least %s, or every sixth of the lease if that is shorter, so that a lost datagram
  does not end a lease; flip check shows it when it differs;
- `+"`ping_timeout`"+` is at least 1.5 x `+"`gossip_interval`"+`;
- Raft's heartbeat and election are a third of the lease, within %s and %s; its leader lease is half of that.

A member is called down 1.0 to 1.1 leases after its last heartbeat, plus one round trip and a commit.
`, short(leastLease), short(mostLease), beatsPerLease, short(leastInterval), short(leastRaft), short(mostRaft))
}

// manualQuorum writes how many votes call a member down.
func manualQuorum(b *strings.Builder) {
	b.WriteString(`
## Quorum

Votes of voters other than the lost one. ` + "`quorum`" + ` below the majority is lifted to it; above the larger of the majority and all others
it is an error. Agents do not vote and are not counted. With more than ` + fmt.Sprint(mostVoters) + ` servers that are no agents each must name its role.

| voters | votes needed | other voters |
|---|---|---|
`)
	for n := 1; n <= mostVoters; n++ {
		words := ""
		if n/2+1 > n-1 {
			words = ": nothing can fail over"
		}
		fmt.Fprintf(b, "| %d | %d | %d%s |\n", n, n/2+1, n-1, words)
	}
}
