// Command client stands for an exporter in the tests of containers: it asks for an
// address until it is stopped and prints each status.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: client <address>")
		os.Exit(2)
	}
	client := http.Client{Timeout: 30 * time.Second}
	for ; ; time.Sleep(500 * time.Millisecond) {
		response, err := client.Get(os.Args[1])
		if err != nil {
			fmt.Println(err)
			continue
		}
		body, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		response.Body.Close()
		fmt.Printf("%d %s\n", response.StatusCode, body)
	}
}
