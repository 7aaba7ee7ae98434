import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * The unmodified Java clients. Reads one JSON object per line from stdin and does what it asks, all of them at once;
 * writes one line to stdout for each: the result, or how the clients word their failure.
 */
public final class Clients {
    public static void main(String[] arguments) throws Exception {
        ExecutorService threads = Executors.newCachedThreadPool();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonObject asked = JsonParser.parseString(line).getAsJsonObject();
            threads.submit(() -> answer(asked));
        }
        System.exit(0);
    }

    private static void answer(JsonObject asked) {
        JsonObject answer = new JsonObject();
        answer.add("id", asked.get("id"));
        try {
            answer.add("result", resultOf(asked));
        } catch (Throwable error) {
            answer.add("error", causesOf(error));
        }
        synchronized (System.out) {
            System.out.println(answer);
        }
    }

    private static JsonElement resultOf(JsonObject asked) throws Exception {
        return switch (text(asked, "do")) {
            case "register" -> Devices.register(asked);
            case "useHub" -> Devices.useHub(asked);
            default -> ProvisioningService.call(asked);
        };
    }

    private static JsonArray causesOf(Throwable error) {
        JsonArray causes = new JsonArray();
        for (Throwable cause = error; cause != null; cause = cause.getCause()) causes.add(cause.toString());
        return causes;
    }

    static String text(JsonObject asked, String member) {
        return asked.get(member).getAsString();
    }
}
