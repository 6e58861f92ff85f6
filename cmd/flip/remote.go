package main

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/client"
)

// far is a cluster that is asked over its servers' ports.
type far struct {
	addrs []string
	by    proof
}

// target is the cluster that a command means; nil: this machine's daemon. What
// the command line says counts before the environment, and that before the
// contexts. A context brings its own key.
func (a *App) target(c *cli.Context) (*far, error) {
	address, context, by := stringFlag(c, "address"), stringFlag(c, "context"), proofFlags(c)
	here, err := saidHere(c, address, context)
	if err != nil {
		return nil, err
	}
	if address == "" && context == "" && here == "" {
		switch {
		case a.Env("FLIP_ADDRESS") != "":
			address = a.Env("FLIP_ADDRESS")
		case a.Env("FLIP_CONTEXT") != "":
			context = a.Env("FLIP_CONTEXT")
		default:
			here = or(a.Env("FLIP_SOCKET"), a.Env("FLIP_DIR"))
		}
	}
	var out *far
	switch {
	case address != "":
		out, err = farAt(address, by.or(a.envProof()))
	case here == "":
		out, err = a.contextFar(context, by)
	}
	switch {
	case err != nil:
		return nil, err
	case out != nil:
		return out, out.by.whole()
	case !by.empty():
		return nil, &usageError{what: by.flag() + " goes with --address: the daemon of this machine needs no proof", hint: "flip --address HOST:PORT " + by.flag() + " FILE COMMAND"}
	default:
		return nil, nil
	}
}

// saidHere is the flag, if any, that names a daemon of this machine.
func saidHere(c *cli.Context, address, context string) (string, error) {
	said := func(of map[string]string) string {
		for _, name := range []string{"--address", "--context", "--socket", "--dir", "--id"} {
			if of[name] != "" {
				return name
			}
		}
		return ""
	}
	here := said(map[string]string{"--socket": stringFlag(c, "socket"), "--dir": stringFlag(c, "dir"), "--id": stringFlag(c, "id")})
	there := said(map[string]string{"--address": address, "--context": context})
	switch {
	case address != "" && context != "":
		return "", &usageError{what: "--address and --context both say which cluster is meant", hint: "give one of them; the key of a context goes with its own addresses"}
	case here != "" && there != "":
		return "", &usageError{what: there + " means a server's port, " + here + " a daemon of this machine", hint: "give one of them"}
	}
	return here, nil
}

func farAt(address string, by proof) (*far, error) {
	addrs, err := parseAddresses(address)
	if err != nil {
		return nil, err
	}
	if by.empty() {
		return nil, &usageError{
			what: "the servers' port wants the cluster's key, and none is named",
			hint: "--key-file FILE, or FLIP_KEY_FILE; or keep both: flip context add NAME --address " + address + " --key-file FILE; where the nodes have `tls`: --cert, --tls-key and --ca",
		}
	}
	return &far{addrs, by}, nil
}

// parseAddresses reads HOST:PORT[,HOST:PORT…].
func parseAddresses(list string) ([]string, error) {
	var out []string
	for addr := range strings.SplitSeq(list, ",") {
		addr = strings.TrimSpace(addr)
		host, port, err := net.SplitHostPort(addr)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || host == "" || portErr != nil || n == 0 {
			return nil, &usageError{
				what: fmt.Sprintf("%q is not HOST:PORT", addr),
				hint: "a server's address as the configuration file has it, such as 10.0.0.1:2200 or [2001:db8::1]:2200; several with commas",
			}
		}
		if !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	return out, nil
}

// askFar opens a client of a cluster.
func (a *App) askFar(f *far) (*client.Client, error) {
	config, otherKey, err := a.credentials(f.by)
	if err != nil {
		return nil, err
	}
	return client.NewRemote(f.addrs, config, otherKey), nil
}

// readKey reads a file with nothing but a key, as key_file names one.
func readKey(name string) (string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return "", hinted{fmt.Errorf("read the cluster's key: %w", err), "it is what `key_file` in the configuration of its nodes names: copy that, readable by you alone"}
	}
	key := strings.TrimSpace(string(data))
	switch {
	case key == "":
		return "", hinted{fmt.Errorf("read the cluster's key: %s is empty", name), "copy the nodes' key_file"}
	case strings.HasPrefix(key, "{"):
		return "", hinted{fmt.Errorf("read the cluster's key: %s is a configuration, not a key", name), "name the file that its `key_file` names, or one that holds its `key` and nothing else"}
	}
	return key, nil
}

// warnMode warns of a file that others than its owner can read.
func (a *App) warnMode(name, what string) {
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
		a.complain(fmt.Sprintf("warning: others than its owner can open %s, %s (%s)", name, what, info.Mode().Perm()), "chmod 0600 "+name)
	}
}

// operatorName is who asks, for the nodes' logs.
func operatorName() string {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return name + "@" + host
}

// hereOnly says, of the commands that work on this machine only, what to do
// instead of naming another.
var hereOnly = map[string]string{
	"run":             "start it on that host: its init system or `ssh HOST flip run`",
	guardCommandName:  "`flip run` starts it, nobody else",
	deriveCommandName: "`flip run` starts it, nobody else",
	"check":           "it reads a file of this machine; `flip status` names where a node's file differs from what the cluster has agreed on",
	"man":             "it writes pages here and asks nobody",
	"demo":            "it starts a cluster of its own here",
	"keygen":          "it makes a key here and asks nobody",
	"doctor":          "it looks at the machine it runs on: `ssh HOST flip doctor`; `flip status` shows what the nodes say",
	"version":         "it is about this binary; that of a node is in `flip status`",
	"completion":      "it prints a script and asks nobody",
}

// onlyHere refuses a command line that sends such a command elsewhere. What the
// environment or a context says does not concern it.
func onlyHere(command string) cli.BeforeFunc {
	hint, only := hereOnly[command]
	if !only {
		return nil
	}
	return func(c *cli.Context) error {
		for _, name := range []string{"address", "context", "key-file", "cert", "tls-key", "ca"} {
			if stringFlag(c, name) != "" {
				return &usageError{what: "flip " + command + " works on this machine only: --" + name + " does not go with it", hint: hint}
			}
		}
		return nil
	}
}
