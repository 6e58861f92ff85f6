package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/flip-ha/flip/deploy"
)

// The nodes of the README's sample and their ports.
var (
	demoNodes   = []string{"flip", "flip1", "flip2"}
	samplePorts = []int{2200, 2201, 2202}
)

// traceEnv names the trace file to the hooks, and marks every process of a demo
// as this demo's.
const traceEnv = "FLIP_DEMO_TRACE"

// demoHook is both hooks. `date` runs last, so that the time is the hook's end;
// the shell opens for appending and writes the line at once.
const demoHook = `#!/bin/sh
# One line for each run: when, on which node, what, of which item, by which
# process of flip, under which token.
echo "$(date +%s%N) $FLIP_MEMBER ${0##*/} $1 $PPID ${FLIP_TOKEN:-0}" >>"$` + traceEnv + `"
`

// timingLine is a line of the sample that holds a timing key.
var timingLine = regexp.MustCompile(`(?m)^,"(gossip_interval|ping_per_interval|ping_timeout)".*\n`)

// demoConfig is the sample with other ports, where it must, and without its
// timing keys for the preset lan.
func demoConfig(ports []int, lan bool) []byte {
	text := string(deploy.ReadmeSample)
	for i, was := range samplePorts {
		text = strings.Replace(text, portText(was), portText(ports[i]), 1)
	}
	if lan {
		text = timingLine.ReplaceAllString(text, "")
	}
	return []byte(text)
}

func portText(port int) string { return `"port" : ` + strconv.Itoa(port) }

// demoPorts is the sample's ports, or free ones where any of those is in use.
func demoPorts() (ports []int, moved bool, err error) {
	if free(samplePorts) {
		return samplePorts, false, nil
	}
	// Another process can take one before flip binds it; flip then says so.
	const tries = 20
	for range tries {
		if ports, err = somePorts(len(samplePorts)); err != nil {
			return nil, false, fmt.Errorf("find free ports: %w", err)
		}
		if free(ports) {
			return ports, true, nil
		}
	}
	return nil, false, fmt.Errorf("find free ports: none free for TCP and UDP in %d tries", tries)
}

// free reports whether TCP and UDP of all ports can be bound on loopback.
func free(ports []int) bool {
	for _, p := range ports {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(p))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return false
		}
		_ = l.Close()
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			return false
		}
		_ = u.Close()
	}
	return true
}

func somePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // all at the end: no number twice
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	slices.Sort(ports)
	return ports, nil
}

// writeDemo fills the demo's directory. hooks "" is the demo's own.
func writeDemo(dir string, ports []int, lan bool, hooks string) (path string, err error) {
	if err := os.WriteFile(filepath.Join(dir, "flip.json"), demoConfig(ports, lan), 0o600); err != nil {
		return "", fmt.Errorf("write sample: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "trace"), nil, 0o600); err != nil {
		return "", fmt.Errorf("write trace: %w", err)
	}
	if hooks == "" {
		hooks = filepath.Join(dir, "hooks")
		if err := os.Mkdir(hooks, 0o700); err != nil {
			return "", fmt.Errorf("write hooks: %w", err)
		}
		for _, name := range []string{hookUp, hookDown} {
			if err := os.WriteFile(filepath.Join(hooks, name), []byte(demoHook), 0o700); err != nil {
				return "", fmt.Errorf("write hooks: %w", err)
			}
		}
	}
	if hooks, err = filepath.Abs(hooks); err != nil {
		return "", fmt.Errorf("find hooks: %w", err)
	}
	return hooks + string(os.PathListSeparator) + os.Getenv("PATH"), nil
}
