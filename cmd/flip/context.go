package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

const contextUsage = "flip context list|use|add|remove [NAME]"

// contextName is what a context may be called.
var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func contextCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "context",
		Usage:     "the clusters that you control from here, by name",
		ArgsUsage: "list|use|add|remove [NAME]",
		Description: `A context is the addresses of a cluster's servers and the file with its key, or your
certificate where its nodes have their own. Commands
mean, in this order: what --address, --context, --socket, --dir or --id say; FLIP_ADDRESS
(with FLIP_KEY_FILE, or FLIP_CERT, FLIP_TLS_KEY and FLIP_CA), FLIP_CONTEXT, FLIP_SOCKET or FLIP_DIR; the context in use; the daemon
of this machine.

They are kept in ~/.config/flip/contexts.json, or the file that FLIP_CONTEXTS names.

Examples:
  flip context add prod --address 10.0.0.1:2200,10.0.0.2:2200 --key-file ~/prod.key
  flip context add ours --address flip1:2200 --cert me.crt --tls-key me.key --ca ca.crt
  flip --context prod status   once
  flip context use prod        from now on
  flip context use --none      commands mean this machine again
  flip context list
  flip context remove prod`,
		Flags: append(addressFlags(), jsonFlag(),
			&cli.BoolFlag{Name: "none", Usage: "use: no context any more"}),
		BashComplete: a.completeContext,
		Action:       a.context,
	}
}

func (a *App) context(c *cli.Context) error {
	verb, name := c.Args().Get(0), c.Args().Get(1)
	if err := atMost(c, 2); err != nil {
		return err
	}
	if verb == "list" && name != "" {
		return &usageError{what: "flip context list takes no name", hint: contextUsage}
	}
	if name == "" && verb != "list" && (verb != "use" || !c.Bool("none")) {
		return &usageError{what: strings.TrimSpace("flip context "+verb) + ": do what, with which context?", hint: contextUsage}
	}
	f, err := a.contexts()
	if err != nil {
		return err
	}
	switch verb {
	case "list":
		return a.listContexts(c, f)
	case "use":
		return a.useContext(c, f, name)
	case "add":
		return a.addContext(c, f, name)
	case "remove":
		return a.removeContext(f, name)
	default:
		return &usageError{what: "flip context does not know " + verb, hint: contextUsage}
	}
}

func (a *App) listContexts(c *cli.Context, f *contexts) error {
	if c.Bool("json") {
		return printJSON(a.Stdout, f)
	}
	if len(f.Contexts) == 0 {
		_, _ = fmt.Fprintln(a.Stdout, "There are no contexts: flip context add NAME --address HOST:PORT --key-file FILE")
		return nil
	}
	header, own := []string{"IN USE", "NAME", "ADDRESSES", "KEY FILE"}, false
	for _, at := range f.Contexts {
		own = own || at.Cert != ""
	}
	if own {
		header = append(header, "CERTIFICATE")
	}
	t := newTable(header...)
	for _, name := range f.names() {
		used := ""
		if name == f.Current {
			used = "*"
		}
		at := f.Contexts[name]
		by := f.proof(at)
		row := []string{used, name, strings.Join(at.Addresses, ","), or(by.keyFile, "-")}
		if own {
			row = append(row, or(by.own.Cert, "-"))
		}
		t.add(plain, row...)
	}
	t.write(a.Stdout, a.painter())
	return nil
}

func (a *App) useContext(c *cli.Context, f *contexts, name string) error {
	if c.Bool("none") {
		if name != "" {
			return &usageError{what: "--none and a name: which?", hint: "flip context use NAME, or flip context use --none"}
		}
		f.Current = ""
		if err := f.save(); err != nil {
			return err
		}
		_, _ = fmt.Fprintln(a.Stdout, "Commands mean the daemon of this machine.")
		return nil
	}
	at, err := f.find(name)
	if err != nil {
		return err
	}
	f.Current = name
	if err := f.save(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.Stdout, "Commands mean %s at %s.\n", name, strings.Join(at.Addresses, ","))
	return nil
}

func (a *App) addContext(c *cli.Context, f *contexts, name string) error {
	const hint = "flip context add NAME --address HOST:PORT,… "
	address, by := stringFlag(c, "address"), proofFlags(c)
	switch _, there := f.Contexts[name]; {
	case !contextName.MatchString(name):
		return &usageError{what: fmt.Sprintf("%q is no name for a context", name), hint: "letters, digits and ._- only"}
	case address == "" || by.empty():
		return &usageError{what: "a context needs addresses and a key", hint: hint + proofHint}
	case there:
		return &usageError{what: "there is a context " + name + " already", hint: "flip context remove " + name + " first, or choose another name"}
	}
	addrs, err := parseAddresses(address)
	if err != nil {
		return err
	}
	if err := errors.Join(by.whole(), by.absolute()); err != nil {
		return err
	}
	if err := a.usable(by); err != nil {
		return err
	}
	f.Contexts[name] = savedAt{Addresses: addrs, KeyFile: by.keyFile, Cert: by.own.Cert, TLSKey: by.own.Key, CA: by.own.CA}
	if err := f.save(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.Stdout, "Added %s. `flip --context %s status` asks it; `flip context use %s` makes all commands mean it.\n", name, name, name)
	return nil
}

func (a *App) removeContext(f *contexts, name string) error {
	at, err := f.find(name)
	if err != nil {
		return err
	}
	delete(f.Contexts, name)
	words := "Removed " + name + "; its key file is left."
	if at.Cert != "" {
		words = "Removed " + name + "; its files are left."
	}
	if f.Current == name {
		f.Current = ""
		words += " Commands mean the daemon of this machine."
	}
	if err := f.save(); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(a.Stdout, words)
	return nil
}

// contextFar is the cluster of a context, "" for the one in use; nil: none is.
// What the command line names counts before the context's.
func (a *App) contextFar(name string, by proof) (*far, error) {
	f, err := a.contexts()
	if err != nil {
		return nil, err
	}
	if name = or(name, f.Current); name == "" {
		return nil, nil
	}
	at, err := f.find(name)
	if err != nil {
		return nil, err
	}
	return &far{at.Addresses, by.or(f.proof(at))}, nil
}

func (a *App) completeContext(c *cli.Context) {
	switch {
	case c.NArg() == 0:
		a.offer([]string{"list", "use", "add", "remove"})
	case c.NArg() == 1 && (c.Args().First() == "use" || c.Args().First() == "remove"):
		a.offer(a.contextNames())
	}
}
