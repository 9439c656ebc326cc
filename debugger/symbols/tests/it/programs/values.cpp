// A value of every library type that the debugger knows, at a stop.
#include <array>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <forward_list>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <stack>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>
struct Animal { int legs = 4; virtual ~Animal() = default; virtual int noise() const { return 0; } };
struct Dog : Animal { std::string name = "rex"; int noise() const override { return 1; } };
struct Named { const char *tag = "t"; virtual ~Named() = default; };
struct Cat : Named, Animal { int lives = 9; };
union Either { int i; float f; };
struct Flags { unsigned low : 3; int high : 5; Either either; int tail[]; };
enum class Level : char { Low = 1, High = 2 };
static int twice(int n) { return n * 2; }
__attribute__((noinline)) void stop(const void *) { abort(); }
int main() {
    std::string short_text = "short", long_text = "a text that is longer than the small buffer";
    std::string_view view = long_text; view.remove_prefix(2);
    std::vector<int> numbers{1, 2, 3}, none; std::vector<bool> bits{true, false, true, true}; std::vector<std::string> words{"a", "b"};
    std::array<short, 3> row{4, 5, 6};
    std::map<std::string, int> map; for (int n = 0; n < 20; n++) map["k" + std::to_string(n)] = n; std::map<int, int> no_map;
    std::set<int> set{5, 3, 9}; std::multimap<int, char> multi{{1, 'a'}, {1, 'b'}};
    std::unordered_map<std::string, double> table{{"pi", 3.5}}; std::unordered_set<int> bag{7};
    std::deque<int> deque; for (int n = 0; n < 300; n++) deque.push_back(n); for (int n = 0; n < 5; n++) deque.pop_front(); deque.push_front(-1);
    std::list<int> list{1, 2, 3}; std::forward_list<char> chain{'x', 'y'};
    std::stack<int> stack; stack.push(3); std::queue<int> queue; queue.push(4); std::priority_queue<int> heap; heap.push(8);
    auto unique = std::make_unique<int>(5); std::unique_ptr<int> no_unique; auto shared = std::make_shared<Dog>(); auto shared2 = shared; std::weak_ptr<Dog> weak = shared, expired; { auto gone = std::make_shared<Dog>(); expired = gone; }
    std::unique_ptr<Animal> beast = std::make_unique<Dog>(); Animal *plain = shared.get(); Cat cat; Animal *second = &cat; Animal &ref = *shared;
    std::optional<int> some = 5, nothing; std::optional<std::string> text = "opt";
    std::variant<int, std::string, double> choice = "held", number = 2.5;
    std::tuple<int, std::string, char> tuple{1, "two", '3'}; std::pair<int, std::string> pair{1, "p"};
    std::function<int(int)> call = twice, lambda = [numbers](int n) { return n + numbers[0]; }, empty; int (*pointer)(int) = twice;
    std::atomic<int> atomic{6}; std::atomic<bool> yes{true}; Level level = Level::High; Flags flags{}; flags.low = 5; flags.high = -3; flags.either.i = 7; std::reference_wrapper<int> wrapper = numbers[1];
    int grid[2][3] = {{1, 2, 3}, {4, 5, 6}}; long double wide = 1.25L; __int128 huge = (__int128)1 << 100; wchar_t letter = L'é'; char16_t unit = u'é'; bool truth = true;
    int Animal::*member = &Animal::legs; auto closure = [&numbers, level] { return numbers.size() + (int)level; };
    stop(&shared2); (void)closure; (void)member; (void)ref; (void)plain; (void)second;
}
