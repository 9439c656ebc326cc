#include <future>
#include <iostream>
#include <stdexcept>
#include <vector>

static int f(int n) {
    if (n % 3 == 0)
        throw std::runtime_error("three");
    return n;
}

int main() {
    int sum = 0;
    for (int round = 0; round < 40; round++) {
        std::vector<std::future<int>> all;
        for (int n = 0; n < 100; n++)
            all.push_back(std::async(std::launch::async, [n] {
                int caught = 0;
                for (int i = 0; i < 20; i++)
                    try {
                        caught += f(n + i);
                    } catch (const std::exception &) {
                        caught--;
                    }
                return caught;
            }));
        for (auto &a : all)
            sum += a.get();
    }
    std::cout << sum << "\n";
}
