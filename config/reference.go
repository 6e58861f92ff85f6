package config

import "strings"

// KeyDoc documents one key of the file.
type KeyDoc struct {
	Key     string `json:"key"` // its path; NAME stands for any name, [] for a list's entry
	Type    string `json:"type"`
	Default string `json:"default"` // "" when the key is needed
	Meaning string `json:"meaning"`
	Example string `json:"example"` // a value as it stands in the file
}

// The objects of the file, as they begin in KeyDoc.Key.
const (
	levelTop     = ""
	levelServer  = "servers.NAME."
	levelCluster = "cluster."
	levelSystem  = "cluster.system.NAME."
	levelItem    = "cluster.system.NAME.data[]."
	levelTrack   = "cluster.system.NAME.track[]."
	levelNotify  = "cluster.system.NAME.notify[]."
	levelTLS     = "tls."

	levelPartitions = "cluster.system.NAME.partitions."
	levelRound      = "cluster.system.NAME.round."
)

const durationType = "milliseconds or a string such as \"1.5s\""

// reference is the one list of keys: unknown keys, suggestions and the
// documentation come from it.
var reference = []KeyDoc{
	{"id", "string", "the host name", "which of servers this node is; `flip run --id` wins over it", `"n1"`},
	{"machine", "string", "found out", "what tells this machine from a copy of its disk; for hosts whose hardware has no number that flip can read", `"rack 7"`},
	{"quorum", "number", "the majority of voters", "down votes wanted from voters other than the lost one; lifted to the majority", `2`},
	{"gossip_interval", durationType, "see timing", "from one heartbeat to the next; at most a sixth of ping_timeout is used", `1000`},
	{"heartbeat_interval", durationType, "", "another name of gossip_interval", `"250ms"`},
	{"ping_timeout", durationType, "see timing", "the lease time: how long silence is borne; at least 1.5 x gossip_interval", `1500`},
	{"lease", durationType, "", "another name of ping_timeout", `"1.5s"`},
	{"ping_per_interval", "number", "", "accepted and unused: every voter hears every heartbeat", `3`},
	{"timing", "lan, fast or wan", "lan", "heartbeat / lease / Raft's heartbeat and election: lan 50/300/100 ms, fast 10/50/50 ms, wan 500/3000/1000 ms", `"wan"`},
	{"key", "string", "", "the secret that all nodes share; `flip keygen` makes one; this or key_file is needed, also with tls: it seals the heartbeats", `"…"`},
	{"key_file", "string", "", "a file that holds the key; a relative path starts at the configuration file", `"flip.key"`},
	{"tls", "object", "the key makes them", "certificates of your own for the servers' TCP port, instead of those that the key makes; see below", `{"cert": …, "key": …, "ca": …}`},
	{"tls.cert", "string", "", "a PEM file: this node's certificate, its id a DNS name or the common name of it, then the intermediate ones; a relative path starts at the configuration file", `"tls/node.crt"`},
	{"tls.key", "string", "", "a PEM file: the private key that belongs to it, without a passphrase", `"tls/node.key"`},
	{"tls.ca", "string", "", "a PEM file: the authorities whose certificates are taken; several while one replaces another", `"tls/ca.crt"`},
	{"tls.operators", "list of strings", "none", "whose certificates may control the cluster from elsewhere without its key: common names, DNS names or mail addresses; `*` is every certificate of the authority", `["alice@example.com"]`},
	{"tls.accept_key", "true or false", "false", "also take nodes and operators with the certificates that the key makes: while the nodes change over, one after the other", `true`},
	{"log_level", "debug, info, warning, error or fatal", "info", "the least level that is logged", `"debug"`},
	{"data_dir", "string", defaultDataDir, "where a directory for each id keeps the log; a relative path starts at the configuration file", `"/srv/flip"`},
	{"metrics", "string", "none", "host:port that serves /metrics, to everybody who reaches it, besides the control socket", `"127.0.0.1:9220"`},
	{"exit_on_stdin_close", "true or false", "false", "stop in order when standard input ends, for supervisors", `true`},
	{"remove_on_failure", "true or false", "true", "the same as cluster.remove_on_failure", `true`},
	{"servers", "object", "", "the members by name, the same on every node", `{"n1": …, "n2": …, "n3": …}`},
	{"servers.NAME.ip", "string", "", "the IP address that the others reach it at", `"10.0.0.1"`},
	{"servers.NAME.port", "number", "", "its port, for TCP and UDP", `2200`},
	{"servers.NAME.systems", "list of strings", "none", "the systems it serves; a server without any is an arbiter, if it is no agent: it votes and holds nothing", `["web"]`},
	{"servers.NAME.system", "list of strings", "", "another name of systems", `["web"]`},
	{"servers.NAME.priority", "number", "after all others", "lower is preferred (keepalived: higher): orders members for dealing and for ties", `1`},
	{"servers.NAME.role", "voter, arbiter or agent", "voter; arbiter without systems", "an agent has no vote and serves its systems like the others; needed of all from 8 servers on: which 3, 5 or 7 vote", `"agent"`},
	{"servers.NAME.weight", "number", "1", "its share of each system's load, relative to the others'", `2`},
	{"servers.NAME.capacity", "number", "no limit", "the most that it holds of any one system, in weights of items", `100`},
	{"servers.NAME.zone", "string", "one zone for all without", "what may fail all at once with it: a rack, a room, a site; replicas are spread over zones", `"rack 7"`},
	{"servers.NAME.tags", "object", "{}", "what is said of it, for systems to select by: any names, with strings as values", `{"disk": "ssd"}`},
	{"cluster", "object", "", "what the cluster divides among its members", `{"system": …}`},
	{"cluster.config", "object", "{}", "merged under the config of each system", `{"interface": "eth0"}`},
	{"cluster.remove_on_failure", "true or false", "true", "when a daemon stops in order, it lets go of what it holds and the others take over; false: nothing moves", `false`},
	{"cluster.system", "object", "", "the systems by name", `{"web": …}`},
	{"cluster.system.NAME.type", "shard, replicate, choose_one or nothing", "", "how the data are divided; also: sharded, round_robin, replicated", `"shard"`},
	{"cluster.system.NAME.guarantee", "at-least-one or at-most-one", "at-least-one; with action ip at-most-one", "what holds when nodes cannot reach each other", `"at-most-one"`},
	{"cluster.system.NAME.action", "hooks, ip or client", "hooks", "how data are made true on a member: commands are run, flip itself plumbs the data as addresses, or a program that has claimed the system is told", `"ip"`},
	{"cluster.system.NAME.alive", "string", "", "hooks: the command that takes a datum, started with the datum and the config as arguments, no shell", `"ip_up"`},
	{"cluster.system.NAME.down", "string", "", "hooks: the command that lets it go", `"ip_down"`},
	{"cluster.system.NAME.config", "object", "{}", "hooks: passed to the commands as JSON", `{"interface": "eth1"}`},
	{"cluster.system.NAME.interface", "string", "the one whose subnet the address is in", "ip: where the addresses are plumbed", `"eth1"`},
	{"cluster.system.NAME.gate", "on or off", "on", "ip, at-most-one: the kernel's packet filter ends the address with the lease, whatever happens to flip; off, or where the kernel cannot: a takeover waits, see takeover_after", `"off"`},
	{"cluster.system.NAME.probe", "on or off", "on", "ip: ask on the wire who has the address before it is plumbed; a stranger who answers keeps it, and an alarm says so", `"off"`},
	{"cluster.system.NAME.track", "list of strings or of objects", "none", "ip: interfaces that must be up with carrier, and routes that must be there, or the member holds nothing of the system", `["eth0", {"route": "0.0.0.0/0"}]`},
	{"cluster.system.NAME.track[].interface", "string", "", "an interface that must be up with carrier", `"eth0"`},
	{"cluster.system.NAME.track[].route", "string", "", "a prefix: the main table must have this route, or one to it", `"0.0.0.0/0"`},
	{"cluster.system.NAME.notify", "list of strings or of objects", "none", "ip: who is told of a takeover by unicast besides the announcements: an address, a prefix of at most 4,096 hosts, or arp-cache: every neighbour that any member knows", `["arp-cache", "10.0.0.0/24"]`},
	{"cluster.system.NAME.notify[].hosts", "string", "", "an address, a prefix or arp-cache", `"10.0.0.0/24"`},
	{"cluster.system.NAME.notify[].interface", "string", "whichever reaches them", "tell them by this interface only", `"eth0"`},
	{"cluster.system.NAME.on_timeout", "keep or kill", "keep", "client: what becomes of a program that has not let go by the end of stop_timeout: keep: the item waits for it; kill: flip ends the program, which lets go of all that it has", `"kill"`},
	{"cluster.system.NAME.data", "list of strings or of objects", "", "what is divided, unless there are partitions; with action ip each is an address, with the bits of its subnet or without (/32, /128), or an object with addresses that move together", `["10.0.0.5/24", {"id": "web", "addresses": ["10.0.0.6", "2001:db8::6"]}]`},
	{"cluster.system.NAME.data[].id", "string", "with action ip the first address, as written", "the name of a datum", `"web"`},
	{"cluster.system.NAME.data[].addresses", "list of strings", "the id", "ip: what moves together", `["10.0.0.6/24", "2001:db8::6/64"]`},
	{"cluster.system.NAME.data[].interface", "string", "as the system says", "ip: where these addresses are plumbed", `"eth2"`},
	{"cluster.system.NAME.data[].weight", "number", "1", "what it counts of a server's load and capacity", `5`},
	{"cluster.system.NAME.data[].prefer", "string or list of strings", "none", "the servers that it is to be on, the first of them that can have it; it goes back there as failback says, and no balancing moves it away", `["n1", "n2"]`},
	{"cluster.system.NAME.partitions", "object", "none", "shard, in place of data: the data are the numbers of partitions, and keys map to them", `{"count": 512}`},
	{"cluster.system.NAME.partitions.count", "number", "", "how many there are: the data are \"0\" to count-1", `512`},
	{"cluster.system.NAME.partitions.hash", "fnv64a or fnv32a", "fnv64a", "of a key; modulo count it is the number of its partition", `"fnv32a"`},
	{"cluster.system.NAME.replicas", "number", "1", "shard: how many servers hold each datum, each another rank of it: rank 0 is the primary, and hooks find theirs in FLIP_RANK; with fewer servers there are fewer replicas", `3`},
	{"cluster.system.NAME.select", "object", "all that list the system", "the tags that a server must have to hold anything: a value, a list of which it has one, or `*` for any", `{"disk": ["ssd", "nvme"], "gpu": "*"}`},
	{"cluster.system.NAME.match", "all or any", "all", "whether all tags of select must match, or one", `"any"`},
	{"cluster.system.NAME.with", "string or list of strings", "none", "systems: a datum is held only where the datum of the same name of theirs is held, or, if there is none, any of theirs", `"db"`},
	{"cluster.system.NAME.apart", "string or list of strings", "none", "systems: a datum is held only where none of theirs is held", `["batch"]`},
	{"cluster.system.NAME.failback", "auto, manual or " + durationType, "auto; with type choose_one manual", "when data go home, or to a server that they prefer: auto: as soon as it is ready; a time: once it has been well for so long; manual: never, as long as they can stay", `"5m"`},
	{"cluster.system.NAME.nopreempt", "true or false", "", "keepalived's name: true means failback manual, false auto", `true`},
	{"cluster.system.NAME.mature", durationType, "0", "how long a server must have been up before it is given what another can have", `"30s"`},
	{"cluster.system.NAME.preempt_delay", durationType, "", "another name of mature; keepalived counts seconds", `"300s"`},
	{"cluster.system.NAME.round", "object", "all at one time", "how many moves that are not urgent, home or for balance, are made at one time", `{"moves": 10, "every": "5s"}`},
	{"cluster.system.NAME.round.moves", "number", "", "the most moves of one round", `10`},
	{"cluster.system.NAME.round.every", durationType, "4000", "the least time from one round to the next", `"5s"`},
	{"cluster.system.NAME.brake", "on or off", "on", "stop moving data when more than half of the servers are lost at once, or a datum that was moved because it failed fails again, until `flip cleanup`; off: move on", `"off"`},
	{"cluster.system.NAME.start_timeout", durationType, "60000", "how long `alive`, the plumbing, or the program may take", `"1m30s"`},
	{"cluster.system.NAME.stop_timeout", durationType, "60000", "how long `down`, taking the addresses away, or the program may take", `10000`},
	{"cluster.system.NAME.takeover_after", durationType + ", or never", "ip: the smallest safe time; hooks: never", "at-most-one: how long is left alone what a lost member may still hold: an address without the gate, or the effect of a hook. A bet on time, see below; never: until that member returns", `"10s"`},
	{"cluster.system.NAME.fence", "string", "none", "at-most-one: a command that one survivor runs before it takes over what nobody has confirmed as released, see below; it must switch the lost member off", `"/etc/flip/fence-ipmi"`},
	{"cluster.system.NAME.fence_timeout", durationType, "60000", "how long `fence` may take before it is ended and tried again", `"30s"`},
	{"cluster.system.NAME.delay", durationType, "0", "how long a change may wait for more; never the moves from a lost member", `500`},
	{"cluster.system.NAME.clean_on_start", "true or false", "true", "let go once at start of all that is not assigned here", `false`},
	{"cluster.system.NAME.remove_on_start", "true or false", "", "old and inverted: true means clean_on_start false", `true`},
}

// Reference lists every key of the file.
func Reference() []KeyDoc { return append([]KeyDoc(nil), reference...) }

// keysOf lists the keys of one object of the file.
func keysOf(level string) []string {
	var keys []string
	for _, doc := range reference {
		if name, ok := strings.CutPrefix(doc.Key, level); ok && name != "" && !strings.ContainsAny(name, ".[") {
			keys = append(keys, name)
		}
	}
	return keys
}

// levelWith says where else a key would be right, "" nowhere.
func levelWith(name, not string) string {
	places := []struct{ level, words string }{
		{levelTop, "to the top level"},
		{levelServer, "to a server"},
		{levelCluster, "to cluster"},
		{levelSystem, "to a system"},
		{levelTLS, "to tls"},
	}
	for _, p := range places {
		if p.level != not && contains(keysOf(p.level), name) {
			return p.words
		}
	}
	return ""
}
