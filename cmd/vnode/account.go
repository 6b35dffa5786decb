package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"vnode/visitor/sasl"
)

const accountHelp = `vnode account prints a line for accounts-file: the salted keys of the password on
the first line of its input.

  vnode account jigasi@jigasi.meet.jitsi <password >>/etc/vnode/accounts
  vnode account '*@jigasi.meet.jitsi' <secret >>/etc/vnode/accounts
        a secret that all users of the domain share
`

func runAccount(args []string, stdout, stderr io.Writer) int {
	if len(args) == 1 && isHelp(args[0]) {
		fmt.Fprint(stdout, accountHelp)
		return 0
	}
	if err := account(args, os.Stdin, stdout); err != nil {
		fmt.Fprintf(stderr, "vnode account: %v\nvnode account -help tells more.\n", err)
		return exitUsage
	}
	return 0
}

// account makes a line of an accounts file.
func account(args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		return fmt.Errorf("unknown flag %s: it has no flags but -help", args[0])
	}
	if len(args) != 1 {
		return errors.New("name one account, such as jigasi@jigasi.meet.jitsi")
	}
	password, err := bufio.NewReader(stdin).ReadString('\n')
	if err != nil && (err != io.EOF || password == "") {
		return errors.New("no password on standard input")
	}
	password = strings.TrimRight(password, "\r\n")
	if password == "" {
		return errors.New("the password is empty")
	}
	a, err := sasl.NewAccount(args[0], password, false)
	if err != nil {
		return err
	}
	line := a.Line(args[0])
	if _, err := sasl.ReadAccounts(strings.NewReader(line)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, line)
	return err
}
