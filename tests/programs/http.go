package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		for n := 0; n < 100; n++ {
			fmt.Fprintln(w, "line", n, "of", r.URL.Path)
		}
	})
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT")}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() { <-stop; server.Shutdown(context.Background()) }()
	fmt.Println(server.ListenAndServe())
}
