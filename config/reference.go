package config

import "strings"

// KeyDoc documents one key of the file.
type KeyDoc struct {
	Key     string `json:"key"` // its path; NAME stands for any name, [] for a list's entry
	Type    string `json:"type"`
	Default string `json:"default"` // "" when the key is needed
	Meaning string `json:"meaning"`
}

// The objects of the file, as they begin in KeyDoc.Key.
const (
	levelTop     = ""
	levelServer  = "servers.NAME."
	levelCluster = "cluster."
	levelSystem  = "cluster.system.NAME."
	levelItem    = "cluster.system.NAME.data[]."
)

const durationType = "milliseconds or a string such as \"1.5s\""

// notYet are keys that are planned but not there; they must not look like slips.
var notYet = map[string]string{
	"tls": "certificates of one's own are not there yet: the shared key makes them",
}

// reference is the one list of keys: unknown keys, suggestions and the
// documentation come from it.
var reference = []KeyDoc{
	{"id", "string", "the host name", "which of servers this node is; `flip run --id` wins over it"},
	{"machine", "string", "found out", "what tells this machine from a copy of its disk; for test hosts"},
	{"quorum", "number", "the majority of voters", "down votes wanted from voters other than the lost one; lifted to the majority"},
	{"gossip_interval", durationType, "see timing", "from one heartbeat to the next; at most a sixth of ping_timeout is used"},
	{"heartbeat_interval", durationType, "", "another name of gossip_interval"},
	{"ping_timeout", durationType, "see timing", "the lease time: how long silence is borne; at least 1.5 x gossip_interval"},
	{"lease", durationType, "", "another name of ping_timeout"},
	{"ping_per_interval", "number", "", "accepted and unused: every voter hears every heartbeat"},
	{"timing", "lan, fast or wan", "lan", "heartbeat / lease / Raft's heartbeat and election: lan 50/300/100 ms, fast 10/50/50 ms, wan 500/3000/1000 ms"},
	{"key", "string", "", "the secret that all nodes share; `flip keygen` makes one; this or key_file is needed"},
	{"key_file", "string", "", "a file that holds the key; a relative path starts at the configuration file"},
	{"log_level", "debug, info, warning, error or fatal", "info", "the least level that is logged"},
	{"data_dir", "string", defaultDataDir, "where a directory for each id keeps the log; a relative path starts at the configuration file"},
	{"exit_on_stdin_close", "true or false", "false", "stop in order when standard input ends, for supervisors"},
	{"remove_on_failure", "true or false", "true", "the same as cluster.remove_on_failure"},
	{"servers", "object", "", "the members by name, the same on every node"},
	{"servers.NAME.ip", "string", "", "the IP address that the others reach it at"},
	{"servers.NAME.port", "number", "", "its port, for TCP and UDP"},
	{"servers.NAME.systems", "list of strings", "none", "the systems it serves; a server without any is an arbiter: it votes and holds nothing"},
	{"servers.NAME.system", "list of strings", "", "another name of systems"},
	{"servers.NAME.priority", "number", "after all others", "lower is preferred (keepalived: higher): orders members for dealing and for ties"},
	{"servers.NAME.role", "voter or arbiter", "voter; arbiter without systems", "needed from 8 servers on: which 3, 5 or 7 vote"},
	{"cluster", "object", "", "what the cluster divides among its members"},
	{"cluster.config", "object", "{}", "merged under the config of each system"},
	{"cluster.remove_on_failure", "true or false", "true", "when a daemon stops in order, run `down` for what it holds; false: nothing moves"},
	{"cluster.system", "object", "", "the systems by name"},
	{"cluster.system.NAME.type", "shard, replicate, choose_one or nothing", "", "how the data are divided; also: sharded, round_robin, replicated"},
	{"cluster.system.NAME.guarantee", "at-least-one or at-most-one", "at-least-one", "what holds when nodes cannot reach each other"},
	{"cluster.system.NAME.action", "hooks", "hooks", "how data are made true on a member"},
	{"cluster.system.NAME.alive", "string", "", "the command that takes a datum, started with the datum and the config as arguments, no shell"},
	{"cluster.system.NAME.down", "string", "", "the command that lets it go"},
	{"cluster.system.NAME.config", "object", "{}", "passed to the commands as JSON"},
	{"cluster.system.NAME.data", "list of strings or of objects with id", "", "what is divided"},
	{"cluster.system.NAME.data[].id", "string", "", "the name of a datum"},
	{"cluster.system.NAME.start_timeout", durationType, "60000", "how long `alive` may run"},
	{"cluster.system.NAME.stop_timeout", durationType, "60000", "how long `down` may run"},
	{"cluster.system.NAME.delay", durationType, "0", "how long a change may wait for more; never the moves from a lost member"},
	{"cluster.system.NAME.clean_on_start", "true or false", "true", "run `down` once at start for all that is not assigned here"},
	{"cluster.system.NAME.remove_on_start", "true or false", "", "old and inverted: true means clean_on_start false"},
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
	}
	for _, p := range places {
		if p.level != not && contains(keysOf(p.level), name) {
			return p.words
		}
	}
	return ""
}
